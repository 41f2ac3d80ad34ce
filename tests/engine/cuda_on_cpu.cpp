// The project's CUDA kernels, compiled for the CPU. Each becomes a C function that takes its arguments as the driver's
// cuLaunchKernel does: an array of pointers to them.
#include "cuda_on_cpu.h"

#include <utility>

#include "nms.cu"
#include "roi_pooling.cu"
#include "smooth_l1.cu"

template <typename... Parameters, size_t... I>
void call(int grid_x, int grid_y, int block, void (*kernel)(Parameters...), void** arguments,
          std::index_sequence<I...>) {
    run_kernel(grid_x, grid_y, block, kernel, *static_cast<Parameters*>(arguments[I])...);
}

template <typename... Parameters>
void call(int grid_x, int grid_y, int block, void (*kernel)(Parameters...), void** arguments) {
    call(grid_x, grid_y, block, kernel, arguments, std::index_sequence_for<Parameters...>{});
}

#define EMULATE(KERNEL)                                                                             \
    extern "C" void emulate_##KERNEL(int grid_x, int grid_y, int block, void** arguments) {         \
        call(grid_x, grid_y, block, KERNEL, arguments);                                             \
    }

EMULATE(nms_mask)
EMULATE(nms_sweep)
EMULATE(roi_pool_forward_float32)
EMULATE(roi_pool_forward_float64)
EMULATE(roi_pool_forward_bfloat16)
EMULATE(roi_pool_backward_float32)
EMULATE(roi_pool_backward_float64)
EMULATE(smooth_l1_float32)
EMULATE(smooth_l1_float64)
