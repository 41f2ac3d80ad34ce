"""SoftmaxWithLoss: softmax and multinomial logistic loss in one."""
from ..bases.softmax_loss import SoftmaxLossLayer
from ..layer import register


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(SoftmaxLossLayer):
    """Softmax cross-entropy loss.

    loss = sum over labels of -log max(softmax(bottom 0)[label], FLT_MIN) / normaliser

    bottoms  scores (N, ..., C, ...) with the classes at softmax_param.axis (1); labels, one per position,
             0..C-1 or `ignore_label`
    tops     loss (); optionally the probabilities, shaped like the scores; their gradient is propagated too
    param    loss_param: ignore_label; normalization VALID (default: number of labels that are not ignored), FULL (all
             labels), BATCH_SIZE (positions before the axis), NONE (1) or PRE_FIXED (pre_fixed_normalizer). The
             normaliser is at least 1

    The loss of one label is at most 87.3365. A label out of range raises LayerError on the CPU; on CUDA, where the
    check would synchronise, it makes the loss NaN. Source: src/caffe/layers/softmax_loss_layer.cpp.
    """

    max_tops = 2
