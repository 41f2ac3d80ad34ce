"""Non-maximum suppression: on the CPU (cpu_nms), on CUDA (gpu_nms) and in NumPy, to read and compare (py_cpu_nms)."""
