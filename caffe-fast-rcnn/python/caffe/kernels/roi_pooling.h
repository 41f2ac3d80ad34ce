// Geometry of RoI max pooling (Girshick, "Fast R-CNN", 2015, section 2.1), shared by the CPU and the CUDA backend.
//
// A RoI (batch, x1, y1, x2, y2) is scaled and rounded to inclusive pixel corners and cut into pooled_h x pooled_w bins,
// in float32 whatever the type of the features: at some sizes (57, 114, 121 pixels into 7 bins) float32 rounding
// makes a bin extend one pixel past its RoI, and trained nets have learned with that.
#pragma once
#include "portable.h"

// Stores a maximum of bfloat16 values, read as float32, as its upper half: the lower half is zero.
struct BFloat16 {
    unsigned short bits;
    PORTABLE BFloat16& operator=(float value) {
        unsigned int word;
        memcpy(&word, &value, sizeof word);
        bits = static_cast<unsigned short>(word >> 16);
        return *this;
    }
};

constexpr float LOWEST = -3.402823466e+38f;   // a maximum starts here: values below it and NaN are never chosen

struct RoiWindow {
    int batch;
    int x1, y1, x2, y2;   // pixels, inclusive; x2 < x1 or y2 < y1 is a malformed RoI, pooled as one pixel
    float bin_w, bin_h;   // pixels per bin
};

PORTABLE int clamped(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

// Half away from zero. Beyond 2^24 pixels (and for NaN) the result is clamped, so that no arithmetic below overflows.
PORTABLE int to_pixel(float coordinate, float scale) {
    const float limit = 16777216.0f;
    const float pixel = roundf(coordinate * scale);
    if (!(pixel > -limit)) return -16777216;
    return pixel < limit ? static_cast<int>(pixel) : 16777216;
}

PORTABLE RoiWindow roi_window(const float* roi, float scale, int pooled_h, int pooled_w) {
    RoiWindow window;
    window.batch = roi[0] >= 0.0f ? static_cast<int>(roi[0]) : -1;   // -1 also for NaN
    window.x1 = to_pixel(roi[1], scale);
    window.y1 = to_pixel(roi[2], scale);
    window.x2 = to_pixel(roi[3], scale);
    window.y2 = to_pixel(roi[4], scale);
    const int width = window.x2 - window.x1 + 1, height = window.y2 - window.y1 + 1;
    window.bin_w = static_cast<float>(width < 1 ? 1 : width) / static_cast<float>(pooled_w);
    window.bin_h = static_cast<float>(height < 1 ? 1 : height) / static_cast<float>(pooled_h);
    return window;
}

// The pixels [begin, end) of one bin along one axis, clipped to the feature map.
PORTABLE void bin_pixels(int bin, float bin_size, int start, int length, int* begin, int* end) {
    *begin = clamped(static_cast<int>(floorf(static_cast<float>(bin) * bin_size)) + start, 0, length);
    *end = clamped(static_cast<int>(ceilf(static_cast<float>(bin + 1) * bin_size)) + start, 0, length);
}

// The bins [begin, end) that hold the pixel `offset` pixels after the RoI's start: the inverse of bin_pixels.
PORTABLE void pixel_bins(int offset, float bin_size, int bins, int* begin, int* end) {
    *begin = clamped(static_cast<int>(floorf(static_cast<float>(offset) / bin_size)), 0, bins);
    *end = clamped(static_cast<int>(ceilf(static_cast<float>(offset + 1) / bin_size)), 0, bins);
}

// A gradient flows only to pixels inside the RoI: none for a malformed RoI, none where a bin extends past its RoI.
PORTABLE bool holds_pixel(const RoiWindow& window, int y, int x) {
    return x >= window.x1 && x <= window.x2 && y >= window.y1 && y <= window.y2;
}

template <typename T>
PORTABLE void take_larger(T value, int index, T* best, int* best_index) {
    const bool larger = value > *best;   // strict: of equal values the first in row order is chosen
    *best = larger ? value : *best;
    *best_index = larger ? index : *best_index;
}
