"""The GPU engine: CuPy for memory, streams and kernels, cuDNN for convolutions, cuBLAS for matrix products."""
