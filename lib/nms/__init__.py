"""Non-maximum suppression: in Cython (cpu_nms), on CUDA (gpu_nms) and in NumPy, to read and compare (py_cpu_nms)."""
