"""The parts of `python -m matnet.benchmarks.gpu`: checks and measurements on a GPU, and their order."""
