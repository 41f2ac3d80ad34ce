// Macros that let one source serve as C++ for the CPU and as CUDA C++ (nvcc and NVRTC). NVRTC lacks the standard
// library, so shared headers include none of it; C++ code that includes them includes <math.h> and <string.h> first.
#pragma once

#ifdef __CUDACC__
#define PORTABLE __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define PORTABLE inline __attribute__((always_inline))
#else
#define PORTABLE inline
#endif

// Compiles a function for several vector widths; the loader picks one for the machine. Results are the same.
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define VECTOR_VARIANTS __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define VECTOR_VARIANTS
#endif
