// The CUDA backend of greedy NMS: all pairs at once into a bit mask, then one block sweeps over it, 64 boxes at a time.
#include "nms.h"

typedef unsigned long long Word;
constexpr int BITS = 64;

// boxes (count, 4), best first. Bit j of mask[i][word] is set where box 64 * word + j comes after box i and overlaps it
// by at least `limit`. Grid (words, words), BITS threads a block; words left of the diagonal are not written.
extern "C" __global__ void nms_mask(const float* boxes, Word* mask, int count, float limit) {
    const int word = blockIdx.x, first_row = blockIdx.y * BITS, first_column = word * BITS;
    if (first_column < first_row) return;
    __shared__ float columns[BITS][5];
    const int thread = threadIdx.x, column = first_column + thread, row = first_row + thread;
    if (column < count) {
        const float* box = boxes + 4 * column;
        for (int k = 0; k < 4; ++k) columns[thread][k] = box[k];
        columns[thread][4] = box_area(Box{box[0], box[1], box[2], box[3]});
    }
    __syncthreads();
    if (row >= count) return;
    const Box mine{boxes[4 * row], boxes[4 * row + 1], boxes[4 * row + 2], boxes[4 * row + 3]};
    const float area = box_area(mine);
    const int columns_here = count - first_column < BITS ? count - first_column : BITS;
    Word bits = 0;
    for (int j = first_column == first_row ? thread + 1 : 0; j < columns_here; ++j) {
        const float* other = columns[j];
        const float iou = box_iou(mine, area, Box{other[0], other[1], other[2], other[3]}, other[4]);
        if (iou >= limit) bits |= Word(1) << j;
    }
    mask[static_cast<long long>(row) * gridDim.x + word] = bits;
}

// Runs in one block. removed (words) must be zero; writes the positions of the kept boxes, at most max_keep.
extern "C" __global__ void nms_sweep(const Word* mask, Word* removed, int* positions, int count, int max_keep) {
    __shared__ Word diagonal[BITS], chosen;
    __shared__ int kept;
    const int words = (count + BITS - 1) / BITS, thread = threadIdx.x;
    if (thread == 0) kept = 0;
    for (int word = 0; word < words; ++word) {
        const int first = word * BITS, boxes_here = count - first < BITS ? count - first : BITS;
        if (thread < boxes_here) diagonal[thread] = mask[static_cast<long long>(first + thread) * words + word];
        __syncthreads();
        if (thread == 0) {
            Word gone = removed[word];
            chosen = 0;
            for (int j = 0; j < boxes_here && kept < max_keep; ++j) {
                if (gone >> j & 1) continue;
                chosen |= Word(1) << j;
                gone |= diagonal[j];
                positions[kept++] = first + j;
            }
        }
        __syncthreads();
        for (int later = word + 1 + thread; later < words; later += blockDim.x) {
            Word gone = removed[later];
            for (int j = 0; j < boxes_here; ++j)
                if (chosen >> j & 1) gone |= mask[static_cast<long long>(first + j) * words + later];
            removed[later] = gone;
        }
        __syncthreads();
    }
}
