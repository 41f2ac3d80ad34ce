// The CUDA backend of the smooth L1 loss: one thread per element. inside and outside are weights; null stands for 1.
#include "smooth_l1.h"

template <typename T>
__device__ void smooth_l1_all(const T* prediction, const T* target, const T* inside, const T* outside, T* loss,
                              T* slope, long long count, T sigma) {
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
        smooth_l1(prediction[i], target[i], inside ? inside[i] : T(1), outside ? outside[i] : T(1), sigma * sigma,
                  &loss[i], &slope[i]);
}

#define KERNELS(NAME, T)                                                                                               \
    extern "C" __global__ void smooth_l1_##NAME(const T* prediction, const T* target, const T* inside,                 \
                                                const T* outside, T* loss, T* slope, int count, float sigma) {         \
        smooth_l1_all(prediction, target, inside, outside, loss, slope, count, static_cast<T>(sigma));                 \
    }

KERNELS(float32, float)
KERNELS(float64, double)
