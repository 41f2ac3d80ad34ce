"""Slow NumPy loops as references for the kernels, and inputs to compare them on."""
import math

import numpy as np


def random_rois(rng, count, images, width, height, scale):
    """RoIs in image coordinates; some extend beyond the image, some are malformed or a single point."""
    corners = rng.uniform(-0.2, 1.1, (count, 4)) * [width, height, width, height] / scale
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    corners[1::7, 2] = corners[1::7, 0] - 3 / scale
    corners[2::7, 3] = corners[2::7, 1] - 2 / scale
    corners[3::7, 2:] = corners[3::7, :2]
    return np.column_stack([rng.integers(0, images, count), corners]).astype(np.float32)


def pixel_window(roi, scale):
    """(x1, y1, x2, y2) in pixels: scaled in float32, rounded half away from zero."""
    scaled = (roi[1:] * np.float32(scale)).astype(np.float64)
    return [int(math.copysign(math.floor(abs(value) + 0.5), value)) for value in scaled]


def bin_size(first, last, bins):
    return np.float32(max(last - first + 1, 1)) / np.float32(bins)


def bin_span(index, size, start, length):
    begin = int(np.floor(np.float32(index) * size)) + start
    end = int(np.ceil(np.float32(index + 1) * size)) + start
    return min(max(begin, 0), length), min(max(end, 0), length)


def roi_pool(x, rois, pooled_h, pooled_w, scale):
    """Maxima and their pixels y * W + x, bin by bin."""
    height, width = x.shape[2:]
    top = np.zeros((len(rois), x.shape[1], pooled_h, pooled_w), x.dtype)
    argmax = np.full(top.shape, -1, np.int32)
    for r, c, ph, pw in np.ndindex(*top.shape):
        x1, y1, x2, y2 = pixel_window(rois[r], scale)
        y_begin, y_end = bin_span(ph, bin_size(y1, y2, pooled_h), y1, height)
        x_begin, x_end = bin_span(pw, bin_size(x1, x2, pooled_w), x1, width)
        best = -np.inf
        for y in range(y_begin, y_end):
            for column in range(x_begin, x_end):
                value = x[int(rois[r, 0]), c, y, column]
                if value > best:
                    best = value
                    top[r, c, ph, pw], argmax[r, c, ph, pw] = value, y * width + column
    return top, argmax


def roi_pool_gradient(dy, argmax, rois, shape, scale):
    """Gradient of each pixel, summed over the RoIs that contain it and then over the bins that may contain it."""
    dx = np.zeros(shape, dy.dtype)
    bins = dy.shape[2:]
    for (r, roi), y, x in ((item, y, x) for item in enumerate(rois) for y in range(shape[2]) for x in range(shape[3])):
        x1, y1, x2, y2 = pixel_window(roi, scale)
        if not (x1 <= x <= x2 and y1 <= y <= y2):
            continue
        rows, columns = (range(max(0, int(np.floor(np.float32(offset) / size))),
                               min(count, int(np.ceil(np.float32(offset + 1) / size))))
                         for offset, size, count in ((y - y1, bin_size(y1, y2, bins[0]), bins[0]),
                                                     (x - x1, bin_size(x1, x2, bins[1]), bins[1])))
        for ph in rows:
            for pw in columns:
                hit = argmax[r, :, ph, pw] == y * shape[3] + x
                dx[int(roi[0]), hit, y, x] += dy[r, hit, ph, pw]
    return dx


def smooth_l1(prediction, target, inside, outside, sigma):
    """Loss and slope of each element in float64."""
    loss, slope = np.zeros(prediction.shape), np.zeros(prediction.shape)
    for i in np.ndindex(*prediction.shape):
        d = float(inside[i]) * (float(prediction[i]) - float(target[i]))
        if abs(d) < 1 / sigma ** 2:
            loss[i], slope[i] = (sigma * d) ** 2 / 2, sigma ** 2 * d
        else:
            loss[i], slope[i] = abs(d) - 0.5 / sigma ** 2, math.copysign(1, d)
        loss[i] *= outside[i]
        slope[i] *= outside[i] * inside[i]
    return loss, slope


def iou(a, b):
    """IoU of two boxes with inclusive corners, in float32 like the kernels; 0 if they do not overlap."""
    a, b, one = a.astype(np.float32), b.astype(np.float32), np.float32(1)
    width = min(a[2], b[2]) - max(a[0], b[0]) + one
    height = min(a[3], b[3]) - max(a[1], b[1]) + one
    if not (width > 0 and height > 0):
        return np.float32(0)
    area_a = (a[2] - a[0] + one) * (a[3] - a[1] + one)
    area_b = (b[2] - b[0] + one) * (b[3] - b[1] + one)
    return width * height / (area_a + area_b - width * height)


def nms(dets, suppresses):
    """Greedy NMS; suppresses(iou) says whether a box is dropped. The lower index wins ties; NaN scores are dropped."""
    order = sorted((i for i in range(len(dets)) if not math.isnan(dets[i, 4])), key=lambda i: (-dets[i, 4], i))
    kept: list[int] = []
    for i in order:
        if not any(suppresses(iou(dets[k], dets[i])) for k in kept):
            kept.append(i)
    return kept


def random_dets(rng, count, spread=60):
    """Boxes with integer corners that overlap heavily, some without area; some scores are equal, some NaN."""
    corners = rng.integers(0, spread, (count, 2))
    sizes = rng.integers(-1, 30, (count, 2))
    scores = rng.integers(0, 3 * count, count) / (3 * count)
    scores[5::11] = np.nan
    return np.column_stack([corners, corners + sizes, scores]).astype(np.float32)


def convolve_3x3(x, weight, bias, pad):
    """The convolution, tap by tap at every pixel of the top, in float64."""
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    height, width = padded.shape[2] - 2, padded.shape[3] - 2
    top = np.zeros((len(x), len(weight), height, width))
    for y, column, i, j in np.ndindex(height, width, 3, 3):
        top[:, :, y, column] += padded[:, :, y + i, column + j] @ weight[:, :, i, j].T.astype(np.float64)
    return top + bias[:, None, None]


def gradients_3x3(x, weight, dy, pad):
    """The gradients of x and weight, given the gradient dy of the top, in float64."""
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    dx, dw = np.zeros_like(padded), np.zeros(weight.shape)
    for y, column, i, j in np.ndindex(*dy.shape[2:], 3, 3):
        gradient = dy[:, :, y, column].astype(np.float64)
        dx[:, :, y + i, column + j] += gradient @ weight[:, :, i, j]
        dw[:, :, i, j] += gradient.T @ padded[:, :, y + i, column + j]
    return dx[:, :, pad:pad + x.shape[2], pad:pad + x.shape[3]], dw
