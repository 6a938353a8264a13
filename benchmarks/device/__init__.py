"""The parts of `python -m matnet.benchmarks.gpu`: what is checked and measured on a GPU, and in which order."""
