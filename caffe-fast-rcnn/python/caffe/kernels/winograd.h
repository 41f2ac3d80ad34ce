// Convolutions with 3 x 3 kernels and stride 1 by Winograd's F(2x2, 3x3): Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks", 2016. 2 x 2 pixels of the top take 16 products per channel and output instead of 36,
// and the sums over channels become 16 matrix products. Rounding errors are about as large as with direct sums.
//
//   y = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A      d: 4 x 4 pixels, g: 3 x 3 taps, *: element by element
//   gradient of g = G^T [ sum over tiles of (A dy A^T) * (B^T d B) ] G
//
// Images are (N, H, W, C) with channels innermost, of floats or bfloat16. For bfloat16 the factors of the products are
// rounded to it; sums and transforms are float32. Channels and outputs are multiples of CHANNEL_STEP. A "frequency" is
// one of the 16 elements. Results are the same for any number of threads.
//
// A word is what one lane of a vector multiplies at a time: one float, or two bfloat16.
#pragma once
#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "threads.h"

namespace winograd {

constexpr int TILE = 4, FREQUENCIES = TILE * TILE, TAPS = 9;
constexpr int WORD = sizeof(float);
constexpr int CHANNEL_STEP = 32;        // the widest panel
constexpr int ROW_GAP = 16;             // floats between rows: rows of 2^n floats would compete for a few cache lines

// A value of bfloat16: the upper half of a float
struct Half {
    uint16_t bits;
};

// The position of a tile: its image in the batch, and the first of its 2 x 2 pixels of the top
struct Place {
    int image, row, column;
};

// An image and the position of a tile's first pixel, which may be outside it
template <typename Pixel>
struct Tile {
    const Pixel* image;
    int row, column;
};

// The functions that differ between kinds of vectors; see winograd_lanes.h and, for the gradients, winograd_gradients.h
using Product = void (*)(const float*, int64_t, int64_t, const float*, int64_t, int64_t, bool, int64_t, float*,
                         int64_t);

template <typename Pixel>
struct Kernels {
    int panel;
    Product product;
    void (*input_tile)(const Tile<Pixel>&, int, int, int, float*, int64_t);
    void (*output_tile)(const float*, int64_t, const float*, const Place&, int, int, int, Pixel*);
    void (*filters_to_frequencies)(const float*, float*, int64_t);
};

template <typename Pixel>
struct GradientKernels {
    int panel;
    Product product;
    void (*input_pair)(const Tile<Pixel>*, int, int, int, float*, int64_t, int64_t);
    void (*gradient_pair)(const Tile<Pixel>*, int, int, int, float*, int64_t, int64_t);
    void (*frequencies_to_filter)(const float*, int64_t, float*);
};

}  // namespace winograd

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11     // it knows bfloat16
#include <immintrin.h>

namespace winograd {

#pragma GCC push_options
#pragma GCC target("avx512f")
namespace avx512 {
constexpr int LANES = 16, ROWS = 14;    // 28 sums, two factors and one more fill the 32 registers
using Pixel = float;
using Vector = __m512;
static inline Vector load(const float* from) { return _mm512_loadu_ps(from); }
static inline void store(float* to, Vector value) { _mm512_storeu_ps(to, value); }
static inline Vector spread(float value) { return _mm512_set1_ps(value); }
static inline Vector fused(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
static inline void store_pair(Vector even, Vector odd, float* words, int64_t row) {
    store(words, even), store(words + row, odd);
}
#include "winograd_lanes.h"
#include "winograd_gradients.h"
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
constexpr int LANES = 8, ROWS = 6;      // 12 sums, two factors and one more of 16 registers
using Pixel = float;
using Vector = __m256;
static inline Vector load(const float* from) { return _mm256_loadu_ps(from); }
static inline void store(float* to, Vector value) { _mm256_storeu_ps(to, value); }
static inline Vector spread(float value) { return _mm256_set1_ps(value); }
static inline Vector fused(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
static inline void store_pair(Vector even, Vector odd, float* words, int64_t row) {
    store(words, even), store(words + row, odd);
}
#include "winograd_lanes.h"
#include "winograd_gradients.h"
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512bf16")
namespace bfloat16 {
constexpr int LANES = 16, ROWS = 14;
using Pixel = Half;
using Vector = __m512;
// With a mask, since GCC warns of undefined operands of its own in the plain forms
static inline __m512i lower(__m256i halves) { return _mm512_maskz_cvtepu16_epi32(0xffff, halves); }
static inline __m512i upper(__m256i halves) { return _mm512_maskz_slli_epi32(0xffff, lower(halves), 16); }
static inline __m256i rounded(Vector value) { return (__m256i)_mm512_cvtneps_pbh(value); }
static inline Vector load(const float* from) { return _mm512_loadu_ps(from); }
static inline Vector load(const Half* from) {
    return _mm512_castsi512_ps(upper(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}
static inline void store(float* to, Vector value) { _mm512_storeu_ps(to, value); }
static inline void store(Half* to, Vector value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), rounded(value));
}
static inline Vector spread(float value) { return _mm512_set1_ps(value); }
static inline Vector fused(Vector a, Vector b, Vector c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
static inline void store_pair(Vector even, Vector odd, float* words, int64_t) {
    store(words, _mm512_castsi512_ps(_mm512_or_si512(upper(rounded(odd)), lower(rounded(even)))));
}
#include "winograd_lanes.h"
#include "winograd_gradients.h"
}  // namespace bfloat16
#pragma GCC pop_options

// The widest available vectors: of 16 or of 8 floats
inline bool has_lanes(int lanes) {
    if (lanes == avx512::LANES) return __builtin_cpu_supports("avx512f");
    return lanes == avx2::LANES && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
inline bool has_matrix_units() { return __builtin_cpu_supports("amx-bf16"); }
inline bool has_bfloat16_vectors() {
    return has_lanes(avx512::LANES) && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bf16");
}
inline const Kernels<float>& kernels_of(const float*, int lanes) {
    return lanes == avx512::LANES ? avx512::KERNELS : avx2::KERNELS;
}
inline const Kernels<Half>& kernels_of(const Half*, int) { return bfloat16::KERNELS; }
inline const GradientKernels<float>& gradient_kernels_of(const float*, int lanes) {
    return lanes == avx512::LANES ? avx512::GRADIENT_KERNELS : avx2::GRADIENT_KERNELS;
}
inline const GradientKernels<Half>& gradient_kernels_of(const Half*, int) { return bfloat16::GRADIENT_KERNELS; }

}  // namespace winograd
#else
namespace winograd {
inline bool has_lanes(int) { return false; }
inline bool has_matrix_units() { return false; }
inline bool has_bfloat16_vectors() { return false; }
template <typename Pixel>
const Kernels<Pixel>& kernels_of(const Pixel*, int) {
    static const Kernels<Pixel> none{};
    return none;
}
template <typename Pixel>
const GradientKernels<Pixel>& gradient_kernels_of(const Pixel*, int) {
    static const GradientKernels<Pixel> none{};
    return none;
}
}  // namespace winograd
#endif

namespace winograd {

// A convolution: bottoms (num, height, width, channels), pad zeros around; tops (num, height + 2 pad - 2, ..., outputs)
struct Shape {
    int num, height, width, channels, outputs, pad;

    int top_height() const { return height + 2 * pad - 2; }
    int top_width() const { return width + 2 * pad - 2; }
    int tile_rows() const { return (top_height() + 1) / 2; }
    int tile_columns() const { return (top_width() + 1) / 2; }
    int64_t bottom_size() const { return static_cast<int64_t>(height) * width * channels; }       // per image
    int64_t top_size() const { return static_cast<int64_t>(top_height()) * top_width() * outputs; }
    int64_t tiles() const { return static_cast<int64_t>(num) * tile_rows() * tile_columns(); }
};

inline Place place_of(const Shape& shape, int64_t tile) {
    const int64_t in_image = static_cast<int64_t>(shape.tile_rows()) * shape.tile_columns(), rest = tile % in_image;
    return {static_cast<int>(tile / in_image), 2 * static_cast<int>(rest / shape.tile_columns()),
            2 * static_cast<int>(rest % shape.tile_columns())};
}

template <typename Pixel>
Tile<Pixel> bottom_tile(const Shape& shape, const Pixel* bottom, int64_t tile) {
    const Place place = place_of(shape, tile);
    return {bottom + place.image * shape.bottom_size(), place.row - shape.pad, place.column - shape.pad};
}

template <typename Pixel>
Tile<Pixel> top_tile(const Shape& shape, const Pixel* top, int64_t tile) {
    const Place place = place_of(shape, tile);
    return {top + place.image * shape.top_size(), place.row, place.column};
}

// ---- chunks of tiles, and the memory that a chunk takes

constexpr int64_t FORWARD_CHUNK = 112;                  // tiles: many for each read of the filters, few for the caches
constexpr int64_t GRADIENT_CHUNK_WORDS = 1 << 21;       // of one transformed operand

inline int64_t forward_chunk(const Shape& shape, int threads) {
    const int64_t workers = std::max(1, threads);
    int64_t chunks = (shape.tiles() + FORWARD_CHUNK - 1) / FORWARD_CHUNK;
    if (chunks < 8 * workers) chunks = (chunks + workers - 1) / workers * workers;      // equal shares
    return std::max<int64_t>(1, (shape.tiles() + chunks - 1) / std::max<int64_t>(1, chunks));
}

// Number of rows of words, rounded up to an even number; each row holds one tile or two
inline int64_t gradient_rows(const Shape& shape) {
    const int64_t widest = std::max(shape.channels, shape.outputs);
    const int64_t rows = std::max<int64_t>(64, GRADIENT_CHUNK_WORDS / (FREQUENCIES * widest));
    return (std::min(shape.tiles(), rows) + 1) / 2 * 2;
}

// Number of words that hold the channels of a pixel
template <typename Pixel>
int64_t channel_words(const Shape& shape) {
    return shape.channels * static_cast<int64_t>(sizeof(Pixel)) / WORD;
}

inline int64_t filter_floats(const Shape& shape) {
    return static_cast<int64_t>(FREQUENCIES) * shape.channels * shape.outputs;
}

inline int64_t forward_floats(const Shape& shape, int threads) {
    const int64_t rows = FREQUENCIES * forward_chunk(shape, threads);
    return filter_floats(shape) + std::max(1, threads) * rows * (shape.channels + shape.outputs + 2 * ROW_GAP);
}

inline int64_t gradient_floats(const Shape& shape) {
    return filter_floats(shape) + FREQUENCIES * gradient_rows(shape) * (shape.channels + ROW_GAP + shape.outputs);
}

// ---- filters

constexpr int FILTER_BLOCK = 16;        // channels whose filters are arranged in vectors together

inline int64_t filter_blocks(const Shape& shape, int panel) {
    return static_cast<int64_t>(shape.outputs / panel) * (shape.channels / FILTER_BLOCK);
}

// The layout of filters: (output, input) is at weight + output * output_step + input * input_step; its taps are in
// reverse order if flipped
struct Filters {
    const float* weight;
    int64_t output_step, input_step;
    bool flipped;
};

// One block of filters. u: words (FREQUENCIES, outputs / panel, channels, panel)
template <typename Pixel>
void transform_filters(const Kernels<Pixel>& kernels, const Shape& shape, const Filters& filters, int64_t block,
                       float* u) {
    const int panel = kernels.panel, blocks = shape.channels / FILTER_BLOCK;
    const int64_t words = channel_words<Pixel>(shape), a_filter = words * panel / shape.channels;
    const int64_t output = block / blocks * panel, first = block % blocks * FILTER_BLOCK;
    alignas(64) float taps[FILTER_BLOCK * TAPS * CHANNEL_STEP];
    for (int lane = 0; lane < panel; ++lane)
        for (int c = 0; c < FILTER_BLOCK; ++c) {
            const float* filter =
                filters.weight + (output + lane) * filters.output_step + (first + c) * filters.input_step;
            float* to = taps + static_cast<int64_t>(c) * TAPS * panel + lane;
            for (int t = 0; t < TAPS; ++t) to[t * panel] = filter[filters.flipped ? TAPS - 1 - t : t];
        }
    float* to = u + output * words + first * a_filter;
    for (int c = 0; c < FILTER_BLOCK; c += 2)
        kernels.filters_to_frequencies(taps + static_cast<int64_t>(c) * TAPS * panel, to + c * a_filter,
                                       words * shape.outputs);
}

// One block of filters, u (FREQUENCIES, channels, outputs) -> gradient (outputs, channels, 3, 3)
template <typename Pixel>
void transform_filter_gradients(const GradientKernels<Pixel>& kernels, const Shape& shape, const float* u,
                                int64_t block, float* gradient) {
    const int panel = kernels.panel, blocks = shape.channels / FILTER_BLOCK;
    const int64_t output = block / blocks * panel, first = block % blocks * FILTER_BLOCK;
    alignas(64) float taps[FILTER_BLOCK * TAPS * CHANNEL_STEP];
    for (int c = 0; c < FILTER_BLOCK; ++c)
        kernels.frequencies_to_filter(u + (first + c) * shape.outputs + output, int64_t{shape.channels} * shape.outputs,
                                      taps + static_cast<int64_t>(c) * TAPS * panel);
    for (int lane = 0; lane < panel; ++lane)
        for (int c = 0; c < FILTER_BLOCK; ++c) {
            float* filter = gradient + ((output + lane) * shape.channels + first + c) * TAPS;
            const float* from = taps + static_cast<int64_t>(c) * TAPS * panel + lane;
            for (int t = 0; t < TAPS; ++t) filter[t] = from[t * panel];
        }
}

// ---- the three passes

// One chunk of tiles: pixels -> v (FREQUENCIES, chunk, channels) -> m (FREQUENCIES, chunk, outputs) -> pixels
template <typename Pixel>
void convolve_tiles(const Kernels<Pixel>& kernels, const Shape& shape, const Pixel* bottom, const float* u,
                    const float* bias, int64_t begin, int64_t end, int64_t chunk, float* v, Pixel* top) {
    const int64_t words = channel_words<Pixel>(shape), v_row = words + ROW_GAP, m_row = shape.outputs + ROW_GAP;
    float* m = v + FREQUENCIES * chunk * v_row;
    for (int64_t tile = begin; tile < end; ++tile)
        kernels.input_tile(bottom_tile(shape, bottom, tile), shape.height, shape.width, shape.channels,
                           v + (tile - begin) * v_row, chunk * v_row);
    for (int f = 0; f < FREQUENCIES; ++f)
        for (int output = 0; output < shape.outputs; output += kernels.panel)
            kernels.product(v + f * chunk * v_row, v_row, 1, u + words * (int64_t{shape.outputs} * f + output),
                            kernels.panel, words, false, end - begin, m + f * chunk * m_row + output, m_row);
    for (int64_t tile = begin; tile < end; ++tile) {
        const Place place = place_of(shape, tile);
        kernels.output_tile(m + (tile - begin) * m_row, chunk * m_row, bias, place, shape.top_height(),
                            shape.top_width(), shape.outputs, top + place.image * shape.top_size());
    }
}

// top = convolution of bottom with the filters, plus bias unless it is null. scratch: forward_floats
template <typename Pixel>
void convolve(int lanes, const Shape& shape, const Pixel* bottom, const Filters& filters, const float* bias, int threads,
              float* scratch, Pixel* top) {
    const Kernels<Pixel>& kernels = kernels_of(bottom, lanes);
    const int64_t tiles = shape.tiles(), chunk = forward_chunk(shape, threads), chunks = (tiles + chunk - 1) / chunk;
    const int64_t share = FREQUENCIES * chunk * (shape.channels + shape.outputs + 2 * ROW_GAP);
    float *u = scratch, *shares = u + filter_floats(shape);
    parallel_steps(2, threads, [&](int64_t step) { return step ? chunks : filter_blocks(shape, kernels.panel); },
                   [&](int64_t step, int64_t i, int worker) {
        if (step == 0) transform_filters(kernels, shape, filters, i, u);
        else convolve_tiles(kernels, shape, bottom, u, bias, i * chunk, std::min(tiles, (i + 1) * chunk), chunk,
                            shares + worker * share, top);
    });
}

// A chunk of tiles transformed to v (FREQUENCIES, rows, channels) and z (FREQUENCIES, outputs / panel, rows, panel), in
// words
template <typename Pixel>
struct Operands {
    static constexpr int64_t PAIR_ROWS = 2 * sizeof(Pixel) / WORD;     // rows of two tiles

    const GradientKernels<Pixel>& kernels;
    const Shape& shape;
    const Pixel *bottom, *top_diff;
    int64_t rows, v_row;
    float *v, *z;

    int64_t chunk() const { return 2 * rows / PAIR_ROWS; }

    // Two tiles, or the last one before `end`
    void transform(int64_t begin, int64_t end, int64_t pair) const {
        const int64_t tile = begin + 2 * pair, row = pair * PAIR_ROWS;
        Tile<Pixel> bottoms[2] = {bottom_tile(shape, bottom, tile)}, tops[2] = {top_tile(shape, top_diff, tile)};
        if (tile + 1 < end) {
            bottoms[1] = bottom_tile(shape, bottom, tile + 1);
            tops[1] = top_tile(shape, top_diff, tile + 1);
        }
        kernels.input_pair(bottoms, shape.height, shape.width, shape.channels, v + row * v_row, rows * v_row, v_row);
        kernels.gradient_pair(tops, shape.top_height(), shape.top_width(), shape.outputs, z + row * kernels.panel,
                              rows * shape.outputs, rows * kernels.panel);
    }

    // The sum over the first `pairs`, for one panel of one frequency: written or added to u (FREQUENCIES, channels,
    // outputs)
    void multiply(int64_t pairs, int64_t panel, bool add, float* u) const {
        const int64_t panels = shape.outputs / kernels.panel, f = panel / panels, p = panel % panels;
        kernels.product(v + f * rows * v_row, 1, v_row, z + panel * rows * kernels.panel, kernels.panel,
                        pairs * PAIR_ROWS, add, shape.channels,
                        u + f * shape.channels * shape.outputs + p * kernels.panel, shape.outputs);
    }
};

// gradient (outputs, channels, 3, 3) of the filters. scratch: gradient_floats
template <typename Pixel>
void filter_gradient(int lanes, const Shape& shape, const Pixel* bottom, const Pixel* top_diff, int threads,
                     float* scratch, float* gradient) {
    constexpr int64_t GROUP = 4;        // pairs of one task
    const GradientKernels<Pixel>& kernels = gradient_kernels_of(bottom, lanes);
    const int64_t rows = gradient_rows(shape), v_row = shape.channels + ROW_GAP, tiles = shape.tiles();
    float *u = scratch, *v = u + filter_floats(shape);
    const Operands<Pixel> operands{kernels, shape, bottom, top_diff, rows, v_row, v, v + FREQUENCIES * rows * v_row};
    const int64_t chunk = operands.chunk(), chunks = (tiles + chunk - 1) / chunk;
    const auto end_of = [&](int64_t step) { return std::min(tiles, (step / 2 + 1) * chunk); };
    const auto pairs_of = [&](int64_t step) { return (end_of(step) - step / 2 * chunk + 1) / 2; };
    const auto count = [&](int64_t step) {
        if (step == 2 * chunks) return filter_blocks(shape, kernels.panel);
        return step % 2 ? int64_t{FREQUENCIES} * (shape.outputs / kernels.panel) : (pairs_of(step) + GROUP - 1) / GROUP;
    };
    parallel_steps(2 * chunks + 1, threads, count, [&](int64_t step, int64_t i, int) {
        if (step == 2 * chunks) transform_filter_gradients(kernels, shape, u, i, gradient);
        else if (step % 2) operands.multiply(pairs_of(step), i, step > 1, u);
        else for (int64_t pair = i * GROUP; pair < std::min(pairs_of(step), (i + 1) * GROUP); ++pair)
            operands.transform(step / 2 * chunk, end_of(step), pair);
    });
}

}  // namespace winograd
