"""Benchmarks: accuracy, speed and memory, each as a ratio to a named peer measured in the same run."""
