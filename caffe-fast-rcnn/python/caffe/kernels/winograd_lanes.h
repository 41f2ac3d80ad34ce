// The arithmetic of winograd.h for one width of vectors. Included once for each, inside a namespace that defines LANES,
// ROWS, Vector, load, store, spread and fused; so there is no include guard.

constexpr int PANEL = 2 * LANES;    // outputs that one pass of `product` computes side by side

// sums[r][0..PANEL) over d of a[r * a_row + d * a_step] * b[d * b_step + 0..PANEL); added to c or written there
template <int COUNT>
static inline void product_rows(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step,
                                int64_t depth, bool add, float* c, int64_t c_row) {
    Vector sums[COUNT][2];
    for (int r = 0; r < COUNT; ++r)
        for (int half = 0; half < 2; ++half)
            sums[r][half] = add ? load(c + r * c_row + half * LANES) : spread(0.0f);
    for (int64_t d = 0; d < depth; ++d, a += a_step, b += b_step) {
        const Vector left = load(b), right = load(b + LANES);
#pragma GCC unroll 16
        for (int r = 0; r < COUNT; ++r) {
            const Vector factor = spread(a[r * a_row]);
            sums[r][0] = fused(factor, left, sums[r][0]);
            sums[r][1] = fused(factor, right, sums[r][1]);
        }
    }
    for (int r = 0; r < COUNT; ++r)
        for (int half = 0; half < 2; ++half) store(c + r * c_row + half * LANES, sums[r][half]);
}

static void product(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step, int64_t depth,
                    bool add, int64_t rows, float* c, int64_t c_row) {
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS)
        product_rows<ROWS>(a + r * a_row, a_row, a_step, b, b_step, depth, add, c + r * c_row, c_row);
    for (; r + 4 <= rows; r += 4)
        product_rows<4>(a + r * a_row, a_row, a_step, b, b_step, depth, add, c + r * c_row, c_row);
    for (; r < rows; ++r) product_rows<1>(a + r * a_row, a_row, a_step, b, b_step, depth, add, c + r * c_row, c_row);
}

// B^T d, along one axis
static inline void input_axis(Vector d0, Vector d1, Vector d2, Vector d3, Vector* to, int step) {
    to[0] = d0 - d2, to[step] = d1 + d2, to[2 * step] = d2 - d1, to[3 * step] = d1 - d3;
}

// to[f * stride + c] = (B^T d B)[f], d being the 4 x 4 pixels at (y, x), which may lie outside the image: zeros
static void input_tile(const float* image, int height, int width, int channels, int y, int x, float* to,
                       int64_t stride) {
    const float* pixels[TILE * TILE];
    for (int i = 0; i < TILE * TILE; ++i) {
        const int row = y + i / TILE, column = x + i % TILE;
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        pixels[i] = inside ? image + (static_cast<int64_t>(row) * width + column) * channels : nullptr;
    }
    for (int c = 0; c < channels; c += LANES) {
        Vector half[TILE * TILE], whole[TILE * TILE];
        for (int column = 0; column < TILE; ++column) {
            Vector d[TILE];
            for (int row = 0; row < TILE; ++row) {
                const float* pixel = pixels[row * TILE + column];
                d[row] = pixel ? load(pixel + c) : spread(0.0f);
            }
            input_axis(d[0], d[1], d[2], d[3], half + column, TILE);
        }
        for (int row = 0; row < TILE; ++row) {
            const Vector* d = half + row * TILE;
            input_axis(d[0], d[1], d[2], d[3], whole + row * TILE, 1);
        }
        for (int f = 0; f < TILE * TILE; ++f) store(to + f * stride + c, whole[f]);
    }
}

// y = A^T m A + bias for the 2 x 2 pixels at (row, column), as far as they lie in the image; m[f * stride + k]
static void output_tile(const float* m, int64_t stride, const float* bias, float* image, int height, int width,
                        int outputs, int row, int column) {
    const bool below = row + 1 < height, right = column + 1 < width;
    float* pixel = image + (static_cast<int64_t>(row) * width + column) * outputs;
    float* under = pixel + static_cast<int64_t>(width) * outputs;
    for (int k = 0; k < outputs; k += LANES) {
        Vector half[2][TILE];
        for (int f = 0; f < TILE; ++f) {
            const Vector m0 = load(m + f * stride + k), m1 = load(m + (TILE + f) * stride + k);
            const Vector m2 = load(m + (2 * TILE + f) * stride + k), m3 = load(m + (3 * TILE + f) * stride + k);
            half[0][f] = m0 + m1 + m2, half[1][f] = m1 - m2 - m3;
        }
        const Vector added = bias ? load(bias + k) : spread(0.0f);
        for (int i = 0; i < 2; ++i) {
            if (i && !below) break;
            float* to = (i ? under : pixel) + k;
            store(to, half[i][0] + half[i][1] + half[i][2] + added);
            if (right) store(to + outputs, half[i][1] - half[i][2] - half[i][3] + added);
        }
    }
}

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
        const Vector rows[TILE][2] = {{g00, g01}, {g00 + g10, g01 + g11}, {g00 - g10, g01 - g11}, {zero - g10, zero - g11}};
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

// to[f * stride + 0..PANEL) = (G g G^T)[f] of PANEL filters, taps[t * PANEL + lane]
static void filter_to_frequencies(const float* taps, float* to, int64_t stride) {
    const Vector half = spread(0.5f);
    for (int lane = 0; lane < PANEL; lane += LANES) {
        Vector rows[TILE][3];
        for (int j = 0; j < 3; ++j) {
            const Vector g0 = load(taps + j * PANEL + lane), g1 = load(taps + (3 + j) * PANEL + lane);
            const Vector g2 = load(taps + (6 + j) * PANEL + lane);
            rows[0][j] = g0, rows[1][j] = half * (g0 + g1 + g2), rows[2][j] = half * (g0 - g1 + g2), rows[3][j] = g2;
        }
        for (int i = 0; i < TILE; ++i) {
            float* row = to + TILE * i * stride + lane;
            const Vector g0 = rows[i][0], g1 = rows[i][1], g2 = rows[i][2];
            store(row, g0);
            store(row + stride, half * (g0 + g1 + g2));
            store(row + 2 * stride, half * (g0 - g1 + g2));
            store(row + 3 * stride, g2);
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

constexpr Kernels KERNELS = {PANEL, product, input_tile, output_tile, gradient_tile, filter_to_frequencies,
                             frequencies_to_filter};
