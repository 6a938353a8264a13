"""Finding the fastest way to run a network on this machine: runtimes, algorithms, and divisions of a batch."""
