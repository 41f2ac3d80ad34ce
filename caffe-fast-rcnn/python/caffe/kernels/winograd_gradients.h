// The gradient of the filters in winograd.h, for one kind of vectors of floats; included after winograd_lanes.h.

// A g A^T of the 2 x 2 gradients at (row, column), zeros outside the image, in panels:
// to[f * stride + k / PANEL * panel_stride + k % PANEL]
static void gradient_tile(const float* image, int height, int width, int outputs, int row, int column, float* to,
                          int64_t stride, int64_t panel_stride) {
    const bool below = row + 1 < height, right = column + 1 < width;
    const float* pixel = image + (static_cast<int64_t>(row) * width + column) * outputs;
    const float* under = pixel + static_cast<int64_t>(width) * outputs;
    const Vector zero = spread(0.0f);
    for (int k = 0; k < outputs; k += LANES) {
        const Vector g00 = load(pixel + k), g01 = right ? load(pixel + outputs + k) : zero;
        const Vector g10 = below ? load(under + k) : zero, g11 = below && right ? load(under + outputs + k) : zero;
        const Vector rows[TILE][2] = {
            {g00, g01}, {g00 + g10, g01 + g11}, {g00 - g10, g01 - g11}, {zero - g10, zero - g11}};
        float* lane = to + k / PANEL * panel_stride + k % PANEL;
        for (int f = 0; f < TILE; ++f) {
            const Vector first = rows[f][0], second = rows[f][1];
            store(lane + (TILE * f) * stride, first);
            store(lane + (TILE * f + 1) * stride, first + second);
            store(lane + (TILE * f + 2) * stride, first - second);
            store(lane + (TILE * f + 3) * stride, zero - second);
        }
    }
}

// taps[t * PANEL + lane] = (G^T u G)[t], u[f * stride + lane] being PANEL filters
static void frequencies_to_filter(const float* u, int64_t stride, float* taps) {
    const Vector half = spread(0.5f);
    for (int lane = 0; lane < PANEL; lane += LANES) {
        Vector rows[3][TILE];
        for (int f = 0; f < TILE; ++f) {
            const Vector u0 = load(u + f * stride + lane), u1 = load(u + (TILE + f) * stride + lane);
            const Vector u2 = load(u + (2 * TILE + f) * stride + lane), u3 = load(u + (3 * TILE + f) * stride + lane);
            const Vector even = half * (u1 + u2);
            rows[0][f] = u0 + even, rows[1][f] = half * (u1 - u2), rows[2][f] = even + u3;
        }
        for (int i = 0; i < 3; ++i) {
            const Vector even = half * (rows[i][1] + rows[i][2]);
            store(taps + 3 * i * PANEL + lane, rows[i][0] + even);
            store(taps + (3 * i + 1) * PANEL + lane, half * (rows[i][1] - rows[i][2]));
            store(taps + (3 * i + 2) * PANEL + lane, even + rows[i][3]);
        }
    }
}

constexpr GradientKernels GRADIENT_KERNELS = {PANEL, product, input_tile, gradient_tile, frequencies_to_filter};
