// The CUDA backend of RoI pooling over contiguous NCHW arrays. Both passes gather: no atomics, the same bits every time.
#include "roi_pooling.h"

template <typename T>
__device__ T pool_one(const T* plane, const RoiWindow& window, int height, int width, int ph, int pw, int* index) {
    int y0, y1, x0, x1;
    bin_pixels(ph, window.bin_h, window.y1, height, &y0, &y1);
    bin_pixels(pw, window.bin_w, window.x1, width, &x0, &x1);
    T best = y1 <= y0 || x1 <= x0 ? T(0) : T(LOWEST);
    *index = -1;
    for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; ++x) take_larger(plane[y * width + x], y * width + x, &best, index);
    return best;
}

// One thread for each value of the top. A RoI whose image index is outside the batch gives NaN. argmax may be null.
template <typename T, typename Top>
__device__ void pool_forward(const T* bottom, const float* rois, Top* top, int* argmax, int num_rois, int images,
                             int channels, int height, int width, int pooled_h, int pooled_w, float scale) {
    const long long count = static_cast<long long>(num_rois) * channels * pooled_h * pooled_w;
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
        const int pw = i % pooled_w, ph = i / pooled_w % pooled_h;
        const long long channel = i / pooled_w / pooled_h % channels, roi = i / pooled_w / pooled_h / channels;
        const RoiWindow window = roi_window(rois + 5 * roi, scale, pooled_h, pooled_w);
        T best = nanf("");
        int index = -1;
        if (window.batch >= 0 && window.batch < images) {
            const T* plane = bottom + (window.batch * static_cast<long long>(channels) + channel) * height * width;
            best = pool_one(plane, window, height, width, ph, pw, &index);
        }
        top[i] = best;
        if (argmax) argmax[i] = index;
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

constexpr int WINDOWS = 128;    // RoIs whose windows a block computes once for all its threads

// One thread for each value of the bottom, which processes the RoIs in order, as the CPU does.
template <typename T>
__device__ void pool_backward(const T* top_diff, const int* argmax, const float* rois, T* bottom_diff, int num_rois,
                              int images, int channels, int height, int width, int pooled_h, int pooled_w,
                              float scale) {
    __shared__ RoiWindow windows[WINDOWS];
    const long long count = static_cast<long long>(images) * channels * height * width;
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    // All threads of a block loop together, even those past the end: all must reach the barriers
    for (long long first = static_cast<long long>(blockIdx.x) * blockDim.x; first < count; first += step) {
        const long long i = first + threadIdx.x;
        const int x = i % width, y = i / width % height;
        const long long channel = i / width / height % channels, image = i / width / height / channels;
        T sum = 0;
        for (int start = 0; start < num_rois; start += WINDOWS) {
            const int rest = num_rois - start < WINDOWS ? num_rois - start : WINDOWS;
            __syncthreads();
            for (int k = threadIdx.x; k < rest; k += blockDim.x)
                windows[k] = roi_window(rois + 5ll * (start + k), scale, pooled_h, pooled_w);
            __syncthreads();
            for (int k = 0; k < rest && i < count; ++k) {
                if (windows[k].batch != image || !holds_pixel(windows[k], y, x)) continue;
                const long long at = ((start + k) * static_cast<long long>(channels) + channel) * pooled_h * pooled_w;
                sum = add_roi(sum, top_diff + at, argmax + at, windows[k], y, x, width, pooled_h, pooled_w);
            }
        }
        if (i < count) bottom_diff[i] = sum;
    }
}

#define FORWARD(NAME, T, TOP)                                                                                         \
    extern "C" __global__ void roi_pool_forward_##NAME(const T* bottom, const float* rois, TOP* top, int* argmax,     \
                                                       int num_rois, int images, int channels, int height, int width, \
                                                       int pooled_h, int pooled_w, float scale) {                     \
        pool_forward(bottom, rois, top, argmax, num_rois, images, channels, height, width, pooled_h, pooled_w,        \
                     scale);                                                                                          \
    }
#define BACKWARD(NAME, T)                                                                                             \
    extern "C" __global__ void roi_pool_backward_##NAME(const T* top_diff, const int* argmax, const float* rois,      \
                                                        T* bottom_diff, int num_rois, int images, int channels,       \
                                                        int height, int width, int pooled_h, int pooled_w,            \
                                                        float scale) {                                                \
        pool_backward(top_diff, argmax, rois, bottom_diff, num_rois, images, channels, height, width, pooled_h,       \
                      pooled_w, scale);                                                                               \
    }

FORWARD(float32, float, float)
FORWARD(float64, double, double)
FORWARD(bfloat16, float, BFloat16)      // of features that hold bfloat16 values
BACKWARD(float32, float)
BACKWARD(float64, double)
