"""Non-maximum suppression: on the CPU (cpu_nms), on CUDA (gpu_nms) and in NumPy, for reference (py_cpu_nms)."""
