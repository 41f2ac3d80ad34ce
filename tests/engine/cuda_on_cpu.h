// Runs CUDA kernels as C++ so that their arithmetic and indices can be tested without a GPU: the blocks one after
// another, the threads of a block as real threads that meet at __syncthreads.
#pragma once
#include <math.h>
#include <string.h>

#include <barrier>
#include <memory>
#include <thread>
#include <vector>

struct Dim3 {
    int x, y, z;
};

static thread_local Dim3 threadIdx;
static Dim3 blockIdx, blockDim, gridDim;
static std::unique_ptr<std::barrier<>> block_barrier;

#define __global__
#define __device__
#define __shared__ static
inline void __syncthreads() { block_barrier->arrive_and_wait(); }

template <typename Kernel, typename... Arguments>
void run_kernel(int grid_x, int grid_y, int block, Kernel kernel, Arguments... arguments) {
    gridDim = {grid_x, grid_y, 1};
    blockDim = {block, 1, 1};
    for (int y = 0; y < grid_y; ++y)
        for (int x = 0; x < grid_x; ++x) {
            blockIdx = {x, y, 0};
            block_barrier = std::make_unique<std::barrier<>>(block);
            std::vector<std::thread> threads;
            for (int t = 0; t < block; ++t)
                threads.emplace_back([=] {
                    threadIdx = {t, 0, 0};
                    kernel(arguments...);
                    block_barrier->arrive_and_drop();   // a thread that returned early is not waited for
                });
            for (auto& thread : threads) thread.join();
        }
}
