// Greedy non-maximum suppression, shared by the CPU and the CUDA backend.
#pragma once
#include "portable.h"

struct Box {
    float x1, y1, x2, y2;   // inclusive corners: a box is x2 - x1 + 1 pixels wide
};

PORTABLE float box_area(const Box& box) { return (box.x2 - box.x1 + 1.0f) * (box.y2 - box.y1 + 1.0f); }

// Intersection over union; 0 without a division for boxes that do not intersect, whatever their areas.
PORTABLE float box_iou(const Box& a, float area_a, const Box& b, float area_b) {
    const float left = a.x1 > b.x1 ? a.x1 : b.x1, right = a.x2 < b.x2 ? a.x2 : b.x2;
    const float upper = a.y1 > b.y1 ? a.y1 : b.y1, lower = a.y2 < b.y2 ? a.y2 : b.y2;
    const float width = right - left + 1.0f, height = lower - upper + 1.0f;
    const float shared = (width > 0.0f ? width : 0.0f) * (height > 0.0f ? height : 0.0f);
    const float quotient = shared / (area_a + area_b - shared);
    return shared > 0.0f ? quotient : 0.0f;
}
