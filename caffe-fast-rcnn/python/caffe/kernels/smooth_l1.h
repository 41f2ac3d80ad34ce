// The smooth L1 loss of one value and its derivative (Girshick, "Fast R-CNN", 2015, equation 3, with the sigma of
// Faster R-CNN's code), shared by the CPU and the CUDA backend.
#pragma once
#include "portable.h"

// d = inside * (prediction - target);  loss = outside * (sigma^2 d^2 / 2 if |d| < 1 / sigma^2, else |d| - 1 / (2 sigma^2))
// slope = d loss / d prediction
template <typename T>
PORTABLE void smooth_l1(T prediction, T target, T inside, T outside, T sigma2, T* loss, T* slope) {
    const T difference = inside * (prediction - target);
    const T size = difference < 0 ? -difference : difference;
    const bool curved = size < T(1) / sigma2;
    const T sign = difference < 0 ? T(-1) : T(1);
    *loss = outside * (curved ? T(0.5) * sigma2 * difference * difference : size - T(0.5) / sigma2);
    *slope = outside * inside * (curved ? sigma2 * difference : sign);
}
