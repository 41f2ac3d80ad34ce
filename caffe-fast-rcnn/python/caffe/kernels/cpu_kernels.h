// The CPU backend: threaded loops over the shared arithmetic. Results are the same for any number of threads.
#pragma once
#include <math.h>
#include <string.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "nms_cpu.h"
#include "roi_pooling.h"
#include "smooth_l1.h"
#include "threads.h"

constexpr int CHANNEL_BLOCK = 128;   // channels pooled together: their output fits the caches near the core

// The maxima of one bin for `channels` consecutive channels. features: (height, width, all_channels), at the first one.
template <typename T>
PORTABLE void pool_bin(const T* features, int width, int all_channels, int channels,
                       int y0, int y1, int x0, int x1, T* best, int* index) {
    const bool empty = y1 <= y0 || x1 <= x0;
    for (int c = 0; c < channels; ++c) best[c] = empty ? T(0) : T(LOWEST), index[c] = -1;
    for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; ++x) {
            const int position = y * width + x;
            const T* pixel = features + static_cast<int64_t>(position) * all_channels;
            for (int c = 0; c < channels; ++c) take_larger(pixel[c], position, &best[c], &index[c]);
        }
}

// The same without the positions of the maxima, for layers without a backward pass.
template <typename T>
PORTABLE void pool_bin_values(const T* features, int width, int all_channels, int channels,
                              int y0, int y1, int x0, int x1, T* best) {
    const bool empty = y1 <= y0 || x1 <= x0;
    for (int c = 0; c < channels; ++c) best[c] = empty ? T(0) : T(LOWEST);
    for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; ++x) {
            const T* pixel = features + static_cast<int64_t>(y * width + x) * all_channels;
            for (int c = 0; c < channels; ++c) best[c] = pixel[c] > best[c] ? pixel[c] : best[c];
        }
}

struct PoolShape {
    int channels, height, width, pooled_h, pooled_w;
};

// One RoI, `channels` consecutive channels: top and argmax are (channels, pooled_h, pooled_w). argmax may be null.
template <typename T, typename Top>
PORTABLE void pool_roi(const T* features, const RoiWindow& window, const PoolShape& shape, int channels,
                       Top* top, int* argmax) {
    alignas(64) T best[CHANNEL_BLOCK];
    alignas(64) int index[CHANNEL_BLOCK];
    const int bins = shape.pooled_h * shape.pooled_w;
    for (int ph = 0; ph < shape.pooled_h; ++ph) {
        int y0, y1;
        bin_pixels(ph, window.bin_h, window.y1, shape.height, &y0, &y1);
        for (int pw = 0; pw < shape.pooled_w; ++pw) {
            int x0, x1;
            bin_pixels(pw, window.bin_w, window.x1, shape.width, &x0, &x1);
            const int bin = ph * shape.pooled_w + pw;
            if (argmax) {
                pool_bin(features, shape.width, shape.channels, channels, y0, y1, x0, x1, best, index);
                for (int c = 0; c < channels; ++c) argmax[c * bins + bin] = index[c];
            } else {
                pool_bin_values(features, shape.width, shape.channels, channels, y0, y1, x0, x1, best);
            }
            for (int c = 0; c < channels; ++c) top[c * bins + bin] = best[c];
        }
    }
}

// target_clones does not apply to templates: one plain function for each pair of types
#define POOL_ROI_OF(T, TOP)                                                                                          \
    VECTOR_VARIANTS                                                                                                  \
    static void pool_roi_of(const T* features, const RoiWindow& window, const PoolShape& shape, int channels,        \
                            TOP* top, int* argmax) {                                                                 \
        pool_roi(features, window, shape, channels, top, argmax);                                                    \
    }
POOL_ROI_OF(float, float)
POOL_ROI_OF(float, BFloat16)
POOL_ROI_OF(double, double)

// features (N, H, W, C), rois (R, 5) with valid batch indices; top, argmax (R, C, pooled_h, pooled_w). argmax may be null.
template <typename T, typename Top>
void roi_pool_forward(const T* features, const float* rois, int num_rois, PoolShape shape, float scale, int threads,
                      Top* top, int* argmax) {
    const int blocks = (shape.channels + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
    const int64_t map = static_cast<int64_t>(shape.height) * shape.width * shape.channels;
    parallel_for(static_cast<int64_t>(num_rois) * blocks, threads, [&](int64_t task) {
        const int64_t roi = task / blocks, first = task % blocks * CHANNEL_BLOCK;
        const RoiWindow window = roi_window(rois + 5 * roi, scale, shape.pooled_h, shape.pooled_w);
        const int64_t out = (roi * shape.channels + first) * shape.pooled_h * shape.pooled_w;
        const int channels = std::min<int>(CHANNEL_BLOCK, shape.channels - static_cast<int>(first));
        pool_roi_of(features + window.batch * map + first, window, shape, channels, top + out,
                    argmax ? argmax + out : nullptr);
    });
}

struct Span {
    int begin, end;
};

// The pixels along one axis that may receive a bin's gradient: those for which holds_pixel and pixel_bins agree.
inline Span gradient_span(int bin, int bins, float bin_size, int first, int last, int length) {
    const auto holds = [&](int pixel) {
        int begin, end;
        pixel_bins(pixel - first, bin_size, bins, &begin, &end);
        return bin >= begin && bin < end;
    };
    Span span;
    bin_pixels(bin, bin_size, first, length, &span.begin, &span.end);
    span.begin = std::max(span.begin, first);
    span.end = std::min(span.end, last + 1);
    while (span.begin < span.end && !holds(span.begin)) ++span.begin;
    while (span.begin < span.end && !holds(span.end - 1)) --span.end;
    return span;
}

// The spans of a RoI's rows of bins, then those of its columns.
inline std::vector<Span> gradient_spans(const RoiWindow& window, const PoolShape& shape) {
    std::vector<Span> spans;
    for (int ph = 0; ph < shape.pooled_h; ++ph)
        spans.push_back(gradient_span(ph, shape.pooled_h, window.bin_h, window.y1, window.y2, shape.height));
    for (int pw = 0; pw < shape.pooled_w; ++pw)
        spans.push_back(gradient_span(pw, shape.pooled_w, window.bin_w, window.x1, window.x2, shape.width));
    return spans;
}

// Adds the gradient of one RoI and channel, bin by bin, to the plane (H, W) of its image and channel.
template <typename T>
void unpool_roi(const T* top_diff, const int* argmax, const Span* spans, const PoolShape& shape, T* plane) {
    const Span* columns = spans + shape.pooled_h;
    for (int ph = 0; ph < shape.pooled_h; ++ph)
        for (int pw = 0; pw < shape.pooled_w; ++pw, ++argmax, ++top_diff) {
            if (*argmax < 0) continue;
            const int y = *argmax / shape.width, x = *argmax - y * shape.width;
            if (y >= spans[ph].begin && y < spans[ph].end && x >= columns[pw].begin && x < columns[pw].end)
                plane[*argmax] += *top_diff;
        }
}

// top_diff, argmax (R, C, pooled_h, pooled_w); bottom_diff (N, C, H, W) must be zero. Each plane is written by one
// thread, which processes the RoIs in order, so sums are deterministic.
template <typename T>
void roi_pool_backward(const T* top_diff, const int* argmax, const float* rois, int num_rois, int images,
                       PoolShape shape, float scale, int threads, T* bottom_diff) {
    std::vector<int> batch;
    std::vector<std::vector<Span>> spans;
    for (int roi = 0; roi < num_rois; ++roi) {
        const RoiWindow window = roi_window(rois + 5 * roi, scale, shape.pooled_h, shape.pooled_w);
        batch.push_back(window.batch);
        spans.push_back(gradient_spans(window, shape));
    }
    const int bins = shape.pooled_h * shape.pooled_w;
    parallel_for(static_cast<int64_t>(images) * shape.channels, threads, [&](int64_t task) {
        const int64_t image = task / shape.channels, channel = task % shape.channels;
        T* plane = bottom_diff + task * shape.height * shape.width;
        for (int roi = 0; roi < num_rois; ++roi) {
            if (batch[roi] != image) continue;
            const int64_t out = (static_cast<int64_t>(roi) * shape.channels + channel) * bins;
            unpool_roi(top_diff + out, argmax + out, spans[roi].data(), shape, plane);
        }
    });
}

// inside and outside are weights; null stands for 1.
template <typename T>
void smooth_l1_all(const T* prediction, const T* target, const T* inside, const T* outside, int64_t count, T sigma,
                   T* loss, T* slope) {
    for (int64_t i = 0; i < count; ++i)
        smooth_l1(prediction[i], target[i], inside ? inside[i] : T(1), outside ? outside[i] : T(1), sigma * sigma,
                  &loss[i], &slope[i]);
}
