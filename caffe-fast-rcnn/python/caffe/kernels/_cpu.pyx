# distutils: language = c++
# cython: boundscheck=False, wraparound=False
"""The CPU backend of the kernels over C-contiguous arrays; the modules beside it check and prepare their arguments."""
from cython cimport floating


cdef extern from "cpu_kernels.h" nogil:
    cdef struct PoolShape:
        int channels, height, width, pooled_h, pooled_w
    cdef struct BFloat16:
        unsigned short bits
    void c_roi_pool_forward "roi_pool_forward"[T, TOP](
        const T*, const float*, int, PoolShape, float, int, TOP*, int*) except +
    void c_roi_pool_backward "roi_pool_backward"[T](
        const T*, const int*, const float*, int, int, PoolShape, float, int, T*) except +
    void c_smooth_l1 "smooth_l1_all"[T](const T*, const T*, const T*, const T*, long long, T, T*, T*)
    int nms_sweep(const float*, int, float, int, int*, float*)


cdef extern from "winograd.h" namespace "winograd" nogil:
    cdef struct Half:
        unsigned short bits
    cdef struct Shape:
        int num, height, width, channels, outputs, pad
    cdef struct Filters:
        const float* weight
        long long output_step, input_step
        bint flipped
    bint has_lanes(int)
    bint has_matrix_units()
    bint has_bfloat16_vectors()
    long long c_forward_floats "winograd::forward_floats"(const Shape&, int)
    long long c_gradient_floats "winograd::gradient_floats"(const Shape&)
    void c_convolve "winograd::convolve"[PIXEL](
        int, const Shape&, const PIXEL*, const Filters&, const float*, int, float*, PIXEL*) except +
    void c_filter_gradient "winograd::filter_gradient"[PIXEL](
        int, const Shape&, const PIXEL*, const PIXEL*, int, float*, float*) except +


def roi_pool_forward(const floating[:, :, :, ::1] features, const float[:, ::1] rois, float scale, int threads,
                     floating[:, :, :, ::1] top, int[:, :, :, ::1] argmax):
    """features (N, H, W, C), rois (R, 5) -> top and, unless it is None, argmax (R, C, pooled_h, pooled_w)."""
    if top.size == 0:
        return
    cdef PoolShape shape = PoolShape(<int>features.shape[3], <int>features.shape[1], <int>features.shape[2],
                                     <int>top.shape[2], <int>top.shape[3])
    cdef const floating* source = NULL
    cdef int* places = NULL
    if features.size:
        source = &features[0, 0, 0, 0]
    if argmax is not None:
        places = &argmax[0, 0, 0, 0]
    with nogil:
        c_roi_pool_forward(source, &rois[0, 0], <int>rois.shape[0], shape, scale, threads, &top[0, 0, 0, 0], places)


def roi_pool_forward_bfloat16(const float[:, :, :, ::1] features, const float[:, ::1] rois, float scale, int threads,
                              unsigned short[:, :, :, ::1] top, int[:, :, :, ::1] argmax):
    """The same for bfloat16 features as raw bits; top receives the bits of the maxima."""
    if top.size == 0:
        return
    cdef PoolShape shape = PoolShape(<int>features.shape[3], <int>features.shape[1], <int>features.shape[2],
                                     <int>top.shape[2], <int>top.shape[3])
    cdef const float* source = NULL
    cdef int* places = NULL
    if features.size:
        source = &features[0, 0, 0, 0]
    if argmax is not None:
        places = &argmax[0, 0, 0, 0]
    with nogil:
        c_roi_pool_forward(source, &rois[0, 0], <int>rois.shape[0], shape, scale, threads,
                           <BFloat16*>&top[0, 0, 0, 0], places)


def roi_pool_backward(const floating[:, :, :, ::1] top_diff, const int[:, :, :, ::1] argmax,
                      const float[:, ::1] rois, float scale, int threads, floating[:, :, :, ::1] bottom_diff):
    """top_diff and argmax (R, C, pooled_h, pooled_w), rois (R, 5) -> added to bottom_diff (N, C, H, W)."""
    if top_diff.size == 0 or bottom_diff.size == 0:
        return
    cdef PoolShape shape = PoolShape(<int>bottom_diff.shape[1], <int>bottom_diff.shape[2],
                                     <int>bottom_diff.shape[3], <int>top_diff.shape[2], <int>top_diff.shape[3])
    with nogil:
        c_roi_pool_backward(&top_diff[0, 0, 0, 0], &argmax[0, 0, 0, 0], &rois[0, 0], <int>rois.shape[0],
                            <int>bottom_diff.shape[0], shape, scale, threads, &bottom_diff[0, 0, 0, 0])


def smooth_l1(double sigma, floating[::1] loss, floating[::1] slope, const floating[::1] prediction,
              const floating[::1] target, const floating[::1] inside, const floating[::1] outside):
    """Element by element; inside and outside may be None."""
    if prediction.shape[0] == 0:
        return
    cdef const floating* inside_data = NULL
    cdef const floating* outside_data = NULL
    if inside is not None:
        inside_data = &inside[0]
    if outside is not None:
        outside_data = &outside[0]
    with nogil:
        c_smooth_l1(&prediction[0], &target[0], inside_data, outside_data, <long long>prediction.shape[0], <floating>sigma,
                    &loss[0], &slope[0])


def nms(const float[:, ::1] boxes, float limit, int[::1] positions, float[::1] scratch):
    """boxes (count, 4), best first -> number of kept boxes, at most len(positions); scratch: 5 floats per position."""
    if boxes.shape[0] == 0 or positions.shape[0] == 0:
        return 0
    return nms_sweep(&boxes[0, 0], <int>boxes.shape[0], limit, <int>positions.shape[0], &positions[0], &scratch[0])


ctypedef fused Pixel:
    float
    unsigned short      # the bits of bfloat16


cdef Shape _sizes(shape):
    num, height, width, channels, outputs, pad = shape
    return Shape(num, height, width, channels, outputs, pad)


def winograd_lanes(int lanes):
    """Whether the Winograd kernels can use vectors of this many floats, 16 or 8, on this machine."""
    return has_lanes(lanes)


def winograd_bfloat16():
    """Whether this machine runs the Winograd kernels for bfloat16, and has no matrix units (AMX), which are faster."""
    return has_bfloat16_vectors() and not has_matrix_units()


def multiplies_bfloat16():
    """Whether this machine has instructions for products of bfloat16; False on other processors than x86."""
    return has_bfloat16_vectors() or has_matrix_units()


def winograd_forward_floats(shape, int threads):
    """Floats of scratch memory that `winograd_convolve` needs; shape: num, height, width, channels, outputs, pad."""
    return c_forward_floats(_sizes(shape), threads)


def winograd_gradient_floats(shape):
    """Floats of scratch memory that `winograd_filter_gradient` needs."""
    return c_gradient_floats(_sizes(shape))


def winograd_convolve(shape, const Pixel[:, :, :, ::1] bottom, const float[:, :, :, ::1] weight, bint transposed,
                      const float[::1] bias, int lanes, int threads, float[::1] scratch, Pixel[:, :, :, ::1] top):
    """bottom (N, H, W, C) -> top (N, H + 2 pad - 2, W + 2 pad - 2, K).

    weight (K, C, 3, 3); or transposed (C, K, 3, 3): then each filter is used back to front. bias (K) or None.
    """
    cdef Shape sizes = _sizes(shape)
    cdef Filters filters = Filters(&weight[0, 0, 0, 0], weight.shape[1] * 9, 9, False)
    cdef const float* added = NULL
    if transposed:
        filters = Filters(&weight[0, 0, 0, 0], 9, weight.shape[1] * 9, True)
    if bias is not None:
        added = &bias[0]
    with nogil:
        if Pixel is float:
            c_convolve(lanes, sizes, &bottom[0, 0, 0, 0], filters, added, threads, &scratch[0], &top[0, 0, 0, 0])
        else:
            c_convolve(lanes, sizes, <const Half*>&bottom[0, 0, 0, 0], filters, added, threads, &scratch[0],
                       <Half*>&top[0, 0, 0, 0])


def winograd_filter_gradient(shape, const Pixel[:, :, :, ::1] bottom, const Pixel[:, :, :, ::1] top_diff, int lanes,
                             int threads, float[::1] scratch, float[:, :, :, ::1] gradient):
    """bottom (N, H, W, C), top_diff (N, H + 2 pad - 2, W + 2 pad - 2, K) -> gradient (K, C, 3, 3)."""
    cdef Shape sizes = _sizes(shape)
    with nogil:
        if Pixel is float:
            c_filter_gradient(lanes, sizes, &bottom[0, 0, 0, 0], &top_diff[0, 0, 0, 0], threads, &scratch[0],
                              &gradient[0, 0, 0, 0])
        else:
            c_filter_gradient(lanes, sizes, <const Half*>&bottom[0, 0, 0, 0], <const Half*>&top_diff[0, 0, 0, 0],
                              threads, &scratch[0], &gradient[0, 0, 0, 0])
