"""Runs a Python layer as a net would, on arrays."""
import numpy as np

import caffe
from fast_rcnn.config import cfg, cfg_from_list, reset_cfg


class ArrayBlob:
    """The part of a blob that Python layers use."""

    def __init__(self, data=None):
        self.data = np.zeros((1,), np.float32) if data is None else np.asarray(data, np.float32)

    @property
    def shape(self):
        return self.data.shape

    def reshape(self, *shape):
        if self.data.shape != shape:
            self.data = np.full(shape, np.nan, np.float32)


def make_layer(cls, param_str, bottoms, num_tops, phase=caffe.TRAIN):
    """The layer after setup, its bottom and its top blobs."""
    layer = cls()
    layer.param_str, layer.phase = param_str, phase
    bottom, top = [ArrayBlob(data) for data in bottoms], [ArrayBlob() for _ in range(num_tops)]
    layer.setup(bottom, top)
    layer.reshape(bottom, top)
    return layer, bottom, top


def run_layer(cls, param_str, bottoms, num_tops, phase=caffe.TRAIN):
    """The tops after one forward pass."""
    layer, bottom, top = make_layer(cls, param_str, bottoms, num_tops, phase)
    layer.forward(bottom, top)
    return [blob.data for blob in top]


def set_config(config):
    """Default settings, changed by those of a recorded case."""
    reset_cfg()
    cfg_from_list([word for pair in config.items() for word in pair])
    return cfg
