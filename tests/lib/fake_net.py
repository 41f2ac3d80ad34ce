"""A net that records its inputs and returns given arrays."""
import numpy as np


class FakeBlob:
    def __init__(self, data=None):
        self.data = np.zeros((1, 1), np.float32) if data is None else data

    def reshape(self, *shape):
        self.data = np.full(shape, np.nan, np.float32)


class FakeNet:
    """`answers` are the outputs of every forward; those in `inner` are internal blobs."""

    def __init__(self, inputs, answers, inner=()):
        self.inputs, self.inner = inputs, inner
        self.answers = answers
        self.blobs = {name: FakeBlob() for name in [*inputs, *answers]}
        self.fed = {}

    def forward(self, **arrays):
        assert sorted(arrays) == sorted(self.inputs)
        for name, array in arrays.items():
            assert array.dtype == np.float32
            self.blobs[name].data[...] = array      # fails unless the blob was reshaped before
            assert self.blobs[name].data.shape == array.shape
        self.fed = {name: array.copy() for name, array in arrays.items()}
        for name, array in self.answers.items():
            self.blobs[name].data = array
        return {name: array for name, array in self.answers.items() if name not in self.inner}


class FakeImdb:
    """Images in files, without annotations; remembers what it is asked to evaluate."""

    def __init__(self, paths, classes, roidb=None):
        self.paths, self.classes, self.roidb = paths, classes, roidb
        self.image_index = [path.stem for path in paths]
        self.num_images, self.num_classes = len(paths), len(classes)

    def image_path_at(self, index):
        return str(self.paths[index])

    def evaluate_detections(self, all_boxes, output_dir):
        self.evaluated = all_boxes, output_dir
        return "evaluated"
