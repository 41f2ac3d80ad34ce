"""SoftmaxWithLossOHEM: SoftmaxWithLoss that also tells the loss of each label."""
from ..bases.softmax_loss import SoftmaxLossLayer
from ..layer import register


@register("SoftmaxWithLossOHEM")
class SoftmaxWithLossOHEM(SoftmaxLossLayer):
    """loss = sum over labels of -log max(softmax(bottom 0)[label], FLT_MIN) / normaliser, and the terms of the sum

    bottoms  scores (N, ..., C, ...) with the classes at softmax_param.axis (1); labels, one for each position,
             0..C-1 or `ignore_label`
    tops     loss (); optionally the probabilities, shaped like the scores, and behind them the losses of the labels,
             shaped like the scores of one class and not normalised, 0 for an ignored label. Their gradients count too
    param    loss_param, as of SoftmaxWithLoss

    Source: src/caffe/layers/softmax_loss_ohem_layer.cu of R-FCN, which shapes the losses like the labels and leaves
    out the gradients of both other tops.
    """

    max_tops = 3
