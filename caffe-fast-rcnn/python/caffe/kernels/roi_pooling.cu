// The CUDA backend of RoI pooling over contiguous NCHW arrays. Both passes gather: no atomics, the same bits every time.
#include "roi_pooling.h"

template <typename T>
__device__ void pool_one(const T* plane, const RoiWindow& window, int height, int width, int ph, int pw,
                         T* top, int* argmax) {
    int y0, y1, x0, x1, index = -1;
    bin_pixels(ph, window.bin_h, window.y1, height, &y0, &y1);
    bin_pixels(pw, window.bin_w, window.x1, width, &x0, &x1);
    T best = y1 <= y0 || x1 <= x0 ? T(0) : T(LOWEST);
    for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; ++x) take_larger(plane[y * width + x], y * width + x, &best, &index);
    *top = best;
    *argmax = index;
}

// One thread for each value of the top. A RoI of an image that the batch does not have gives NaN.
template <typename T>
__device__ void pool_forward(const T* bottom, const float* rois, T* top, int* argmax, int num_rois, int images,
                             int channels, int height, int width, int pooled_h, int pooled_w, float scale) {
    const long long count = static_cast<long long>(num_rois) * channels * pooled_h * pooled_w;
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
        const int pw = i % pooled_w, ph = i / pooled_w % pooled_h;
        const long long channel = i / pooled_w / pooled_h % channels, roi = i / pooled_w / pooled_h / channels;
        const RoiWindow window = roi_window(rois + 5 * roi, scale, pooled_h, pooled_w);
        if (window.batch < 0 || window.batch >= images) {
            top[i] = nanf("");
            argmax[i] = -1;
            continue;
        }
        const T* plane = bottom + (window.batch * static_cast<long long>(channels) + channel) * height * width;
        pool_one(plane, window, height, width, ph, pw, &top[i], &argmax[i]);
    }
}

// The gradient that one RoI sends to the pixel (y, x); top_diff and argmax at the RoI's (pooled_h, pooled_w) values.
template <typename T>
__device__ T add_roi(T sum, const T* top_diff, const int* argmax, const RoiWindow& window, int y, int x, int width,
                     int pooled_h, int pooled_w) {
    int row, row_end, column, column_end;
    pixel_bins(y - window.y1, window.bin_h, pooled_h, &row, &row_end);
    pixel_bins(x - window.x1, window.bin_w, pooled_w, &column, &column_end);
    for (int ph = row; ph < row_end; ++ph)
        for (int pw = column; pw < column_end; ++pw)
            if (argmax[ph * pooled_w + pw] == y * width + x) sum += top_diff[ph * pooled_w + pw];
    return sum;
}

// One thread for each value of the bottom: it takes the RoIs in their order, as the CPU does.
template <typename T>
__device__ void pool_backward(const T* top_diff, const int* argmax, const float* rois, T* bottom_diff, int num_rois,
                              int images, int channels, int height, int width, int pooled_h, int pooled_w,
                              float scale) {
    const long long count = static_cast<long long>(images) * channels * height * width;
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
        const int x = i % width, y = i / width % height;
        const long long channel = i / width / height % channels, image = i / width / height / channels;
        T sum = 0;
        for (long long roi = 0; roi < num_rois; ++roi) {
            if (rois[5 * roi] < image || rois[5 * roi] >= image + 1) continue;
            const RoiWindow window = roi_window(rois + 5 * roi, scale, pooled_h, pooled_w);
            if (!holds_pixel(window, y, x)) continue;
            const long long at = (roi * channels + channel) * pooled_h * pooled_w;
            sum = add_roi(sum, top_diff + at, argmax + at, window, y, x, width, pooled_h, pooled_w);
        }
        bottom_diff[i] = sum;
    }
}

#define KERNELS(NAME, T)                                                                                              \
    extern "C" __global__ void roi_pool_forward_##NAME(const T* bottom, const float* rois, T* top, int* argmax,       \
                                                       int num_rois, int images, int channels, int height, int width, \
                                                       int pooled_h, int pooled_w, float scale) {                     \
        pool_forward(bottom, rois, top, argmax, num_rois, images, channels, height, width, pooled_h, pooled_w,        \
                     scale);                                                                                          \
    }                                                                                                                 \
    extern "C" __global__ void roi_pool_backward_##NAME(const T* top_diff, const int* argmax, const float* rois,      \
                                                        T* bottom_diff, int num_rois, int images, int channels,       \
                                                        int height, int width, int pooled_h, int pooled_w,            \
                                                        float scale) {                                                \
        pool_backward(top_diff, argmax, rois, bottom_diff, num_rois, images, channels, height, width, pooled_h,       \
                      pooled_w, scale);                                                                               \
    }

KERNELS(float32, float)
KERNELS(float64, double)
