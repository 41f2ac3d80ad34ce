"""A data layer for tests of the training loop."""
import os
import signal

import numpy as np

import caffe
from roi_data_layer.prefetch import Waits


class Numbers(caffe.Layer):
    """Tops: data (2, 5) and target (2, 12), functions of the pass number. Can ask its process to stop."""

    stop_at = None

    def setup(self, bottom, top):
        self.waits = Waits()
        self.seek(0)

    def set_roidb(self, roidb):
        self.seek(0)

    def seek(self, passes):
        self.passes = passes

    def reshape(self, bottom, top):
        top[0].reshape(2, 5)
        top[1].reshape(2, 12)

    def forward(self, bottom, top):
        rng = np.random.default_rng([9, self.passes])
        top[0].data[...], top[1].data[...] = rng.normal(size=(2, 5)), rng.normal(size=(2, 12))
        if self.passes == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        self.waits.add(0.01, ready=self.passes)
        self.passes += 1

    def close(self):
        pass

    def backward(self, top, propagate_down, bottom):
        pass
