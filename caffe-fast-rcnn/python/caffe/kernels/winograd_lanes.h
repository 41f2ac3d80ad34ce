// The convolution of winograd.h for one kind of vectors. Included once for each, inside a namespace that defines LANES,
// ROWS, Pixel, Vector, load, store, spread, fused and store_pair; so there is no include guard.

constexpr int PANEL = 2 * LANES;    // outputs that one pass of `product` computes side by side

// sums[r][0..PANEL) over d of a[r * a_row + d * a_step] * b[d * b_step + 0..PANEL); added to c or written there
template <int COUNT>
static inline void product_rows(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step,
                                int64_t depth, bool add, float* c, int64_t c_row) {
    Vector sums[COUNT][2];
    for (int r = 0; r < COUNT; ++r)
        for (int half = 0; half < 2; ++half) {
            sums[r][half] = spread(0.0f);
            if (add) __builtin_prefetch(c + r * c_row + half * LANES, 1);       // nearly twice as fast
        }
    for (int64_t d = 0; d < depth; ++d, a += a_step, b += b_step) {
        const Vector left = load(b), right = load(b + LANES);
#pragma GCC unroll 16
        for (int r = 0; r < COUNT; ++r) {
            const Vector factor = spread(a[r * a_row]);
            sums[r][0] = fused(factor, left, sums[r][0]);
            sums[r][1] = fused(factor, right, sums[r][1]);
        }
    }
    // The existing value is added last: sums of partial sums round less than one long sum
    for (int r = 0; r < COUNT; ++r)
        for (int half = 0; half < 2; ++half) {
            float* to = c + r * c_row + half * LANES;
            store(to, add ? load(to) + sums[r][half] : sums[r][half]);
        }
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

// The 4 x 4 pixels of a tile; null outside the image
struct Patch {
    const Pixel* pixels[TILE * TILE];

    Patch(const Tile<Pixel>& tile, int height, int width, int channels) {
        for (int i = 0; i < TILE * TILE; ++i) {
            const int row = tile.row + i / TILE, column = tile.column + i % TILE;
            const bool inside = tile.image && row >= 0 && row < height && column >= 0 && column < width;
            pixels[i] = inside ? tile.image + (static_cast<int64_t>(row) * width + column) * channels : nullptr;
        }
    }
};

// to[f * stride + c] = (B^T d B)[f] of `count` channels from the first on
template <typename To>
static inline void transform_patch(const Patch& patch, int first, int count, To* to, int64_t stride) {
    for (int c = 0; c < count; c += LANES) {
        Vector half[TILE * TILE], whole[TILE * TILE];
        for (int column = 0; column < TILE; ++column) {
            Vector d[TILE];
            for (int row = 0; row < TILE; ++row) {
                const Pixel* pixel = patch.pixels[row * TILE + column];
                d[row] = pixel ? load(pixel + first + c) : spread(0.0f);
            }
            input_axis(d[0], d[1], d[2], d[3], half + column, TILE);
        }
        for (int row = 0; row < TILE; ++row) {
            const Vector* d = half + row * TILE;
            input_axis(d[0], d[1], d[2], d[3], whole + row * TILE, 1);
        }
        for (int f = 0; f < FREQUENCIES; ++f) store(to + f * stride + c, whole[f]);
    }
}

// All channels of a tile, in words[f * stride ..]
static void input_tile(const Tile<Pixel>& tile, int height, int width, int channels, float* words, int64_t stride) {
    transform_patch(Patch(tile, height, width, channels), 0, channels, reinterpret_cast<Pixel*>(words),
                    stride * WORD / static_cast<int64_t>(sizeof(Pixel)));
}

// y = A^T m A + bias for 2 x 2 pixels, as far as they lie in the image; m[f * stride + k]
static void output_tile(const float* m, int64_t stride, const float* bias, const Place& place, int height, int width, int outputs,
                        Pixel* image) {
    const bool below = place.row + 1 < height, right = place.column + 1 < width;
    Pixel* pixel = image + (static_cast<int64_t>(place.row) * width + place.column) * outputs;
    Pixel* under = pixel + static_cast<int64_t>(width) * outputs;
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
            Pixel* to = (i ? under : pixel) + k;
            store(to, half[i][0] + half[i][1] + half[i][2] + added);
            if (right) store(to + outputs, half[i][1] - half[i][2] - half[i][3] + added);
        }
    }
}

// to[f * PANEL + lane] = (G g G^T)[f] of PANEL filters, taps[t * PANEL + lane]
static inline void filter_to_frequencies(const float* taps, float* to) {
    const Vector half = spread(0.5f);
    for (int lane = 0; lane < PANEL; lane += LANES) {
        Vector rows[TILE][3];
        for (int j = 0; j < 3; ++j) {
            const Vector g0 = load(taps + j * PANEL + lane), g1 = load(taps + (3 + j) * PANEL + lane);
            const Vector g2 = load(taps + (6 + j) * PANEL + lane);
            rows[0][j] = g0, rows[1][j] = half * (g0 + g1 + g2), rows[2][j] = half * (g0 - g1 + g2), rows[3][j] = g2;
        }
        for (int i = 0; i < TILE; ++i) {
            float* row = to + TILE * i * PANEL + lane;
            const Vector g0 = rows[i][0], g1 = rows[i][1], g2 = rows[i][2];
            store(row, g0);
            store(row + PANEL, half * (g0 + g1 + g2));
            store(row + 2 * PANEL, half * (g0 - g1 + g2));
            store(row + 3 * PANEL, g2);
        }
    }
}

// The filters of two consecutive channels, taps[channel][t][lane]: words[f * stride ..] holds one, then the other
static void filters_to_frequencies(const float* taps, float* words, int64_t stride) {
    alignas(64) float even[FREQUENCIES * PANEL], odd[FREQUENCIES * PANEL];
    filter_to_frequencies(taps, even);
    filter_to_frequencies(taps + TAPS * PANEL, odd);
    for (int f = 0; f < FREQUENCIES; ++f)
        for (int lane = 0; lane < PANEL; lane += LANES)
            store_pair(load(even + f * PANEL + lane), load(odd + f * PANEL + lane), words + f * stride + lane, PANEL);
}

constexpr Kernels<Pixel> KERNELS = {PANEL, product, input_tile, output_tile, filters_to_frequencies};
