// The sweep of greedy NMS on the CPU, over arrays of coordinates, so that the inner loop vectorises.
#pragma once
#include "nms.h"

// Rows 0..3 hold x1, y1, x2, y2 of the boxes kept so far and row 4 their areas; each row has `stride` floats.
PORTABLE bool overlaps_a_kept_box(const float* kept, int stride, int count, const Box& box, float area, float limit) {
    const float *x1 = kept, *y1 = x1 + stride, *x2 = y1 + stride, *y2 = x2 + stride, *areas = y2 + stride;
    constexpr int BLOCK = 32;   // boxes compared before checking for a hit
    int begin = 0;
    for (; begin + BLOCK <= count; begin += BLOCK) {
        int hits = 0;
        for (int k = begin; k < begin + BLOCK; ++k)
            hits |= box_iou(Box{x1[k], y1[k], x2[k], y2[k]}, areas[k], box, area) >= limit;
        if (hits) return true;
    }
    int hits = 0;
    for (int k = begin; k < count; ++k)
        hits |= box_iou(Box{x1[k], y1[k], x2[k], y2[k]}, areas[k], box, area) >= limit;
    return hits != 0;
}

// boxes: (count, 4), best first. Writes the positions of the kept boxes, at most max_keep, and returns their number. A
// box is dropped if its IoU with an already kept box is at least `limit`.
// scratch: 5 * max_keep floats.
VECTOR_VARIANTS
static int nms_sweep(const float* boxes, int count, float limit, int max_keep, int* positions, float* scratch) {
    int kept = 0;
    for (int i = 0; i < count && kept < max_keep; ++i) {
        const Box box{boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]};
        const float area = box_area(box);
        if (overlaps_a_kept_box(scratch, max_keep, kept, box, area, limit)) continue;
        const float row[5] = {box.x1, box.y1, box.x2, box.y2, area};
        for (int k = 0; k < 5; ++k) scratch[k * max_keep + kept] = row[k];
        positions[kept++] = i;
    }
    return kept;
}
