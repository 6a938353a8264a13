"""Fuzzing: mutated inputs of every kind that matnet reads give a result or one MatnetError. See `__main__.py`."""
