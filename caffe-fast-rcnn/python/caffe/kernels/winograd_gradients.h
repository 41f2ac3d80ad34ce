// The gradient of the filters in winograd.h, for one kind of vectors; included after winograd_lanes.h.
//
// The sum over tiles takes two at a time: a row of words for each, or one row of words that hold both. A missing second
// tile (no image) counts as zeros.

constexpr bool ROW_EACH = sizeof(Pixel) == WORD;
constexpr int CHANNEL_BLOCK = 64;       // channels of two tiles that are transformed together: they fit the L1 cache

// `count` values of each frequency of two tiles, from the first on, in words that hold both, in panels. Panels that follow
// upon each other (panel_stride PANEL) are a row.
static inline void store_pairs(const float (&values)[2][FREQUENCIES * CHANNEL_BLOCK], int first, int count, float* words,
                               int64_t stride, int64_t panel_stride) {
    for (int f = 0; f < FREQUENCIES; ++f)
        for (int k = 0; k < count; k += LANES)
            store_pair(load(values[0] + f * CHANNEL_BLOCK + k), load(values[1] + f * CHANNEL_BLOCK + k),
                       words + f * stride + (first + k) / PANEL * panel_stride + (first + k) % PANEL, PANEL);
}

// Both tiles of a pair: words[f * stride + c]
static void input_pair(const Tile<Pixel>* tiles, int height, int width, int channels, float* words, int64_t stride,
                       int64_t row) {
    const Patch one(tiles[0], height, width, channels), other(tiles[1], height, width, channels);
    if (ROW_EACH) {
        transform_patch(one, 0, channels, words, stride);
        transform_patch(other, 0, channels, words + row, stride);
        return;
    }
    alignas(64) float values[2][FREQUENCIES * CHANNEL_BLOCK];
    for (int first = 0; first < channels; first += CHANNEL_BLOCK) {
        const int count = channels - first < CHANNEL_BLOCK ? channels - first : CHANNEL_BLOCK;
        transform_patch(one, first, count, values[0], CHANNEL_BLOCK);
        transform_patch(other, first, count, values[1], CHANNEL_BLOCK);
        store_pairs(values, first, count, words, stride, PANEL);
    }
}

// (A g A^T)[f] of the 2 x 2 gradients of a tile, zeros outside the image, in panels, of `count` outputs from the first
// on: to[f * stride + k / PANEL * panel_stride + k % PANEL]
static inline void transform_gradient(const Tile<Pixel>& tile, int height, int width, int outputs, int first, int count,
                                      float* to, int64_t stride, int64_t panel_stride) {
    const bool here = tile.image, below = here && tile.row + 1 < height, right = here && tile.column + 1 < width;
    const Pixel* pixel = tile.image + (static_cast<int64_t>(tile.row) * width + tile.column) * outputs + first;
    const Pixel* under = pixel + static_cast<int64_t>(width) * outputs;
    const Vector zero = spread(0.0f);
    for (int k = 0; k < count; k += LANES) {
        const Vector g00 = here ? load(pixel + k) : zero, g01 = right ? load(pixel + outputs + k) : zero;
        const Vector g10 = below ? load(under + k) : zero, g11 = below && right ? load(under + outputs + k) : zero;
        const Vector rows[TILE][2] = {
            {g00, g01}, {g00 + g10, g01 + g11}, {g00 - g10, g01 - g11}, {zero - g10, zero - g11}};
        for (int i = 0; i < TILE; ++i) {
            const Vector left = rows[i][0], other = rows[i][1];
            float* lane = to + TILE * i * stride + k / PANEL * panel_stride + k % PANEL;
            store(lane, left);
            store(lane + stride, left + other);
            store(lane + 2 * stride, left - other);
            store(lane + 3 * stride, zero - other);
        }
    }
}

// Both tiles of a pair, in panels: words[f * stride + k / PANEL * panel_stride + k % PANEL]
static void gradient_pair(const Tile<Pixel>* tiles, int height, int width, int outputs, float* words, int64_t stride,
                          int64_t panel_stride) {
    if (ROW_EACH) {
        for (int i = 0; i < 2; ++i)
            transform_gradient(tiles[i], height, width, outputs, 0, outputs, words + i * PANEL, stride, panel_stride);
        return;
    }
    alignas(64) float values[2][FREQUENCIES * CHANNEL_BLOCK];
    for (int first = 0; first < outputs; first += CHANNEL_BLOCK) {
        const int count = outputs - first < CHANNEL_BLOCK ? outputs - first : CHANNEL_BLOCK;
        for (int i = 0; i < 2; ++i)
            transform_gradient(tiles[i], height, width, outputs, first, count, values[i], CHANNEL_BLOCK, PANEL);
        store_pairs(values, first, count, words, stride, panel_stride);
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

constexpr GradientKernels<Pixel> GRADIENT_KERNELS = {PANEL, product, input_pair, gradient_pair, frequencies_to_filter};
