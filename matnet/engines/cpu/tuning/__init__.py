"""Search for the fastest way to run a network on this machine: runtime, algorithm and division of a batch."""
