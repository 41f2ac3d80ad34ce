"""HDF5Output: write two blobs to an HDF5 file."""
from __future__ import annotations

from ..layer import Layer, register


@register("HDF5Output")
class HDF5Output(Layer):
    """Write the bottoms as datasets `data` and `label`, both with 4 axes, to hdf5_output_param.file_name.

    The first forward pass replaces the file; later ones append their rows (BVLC Caffe fails at the second). Missing
    axes have length 1. Source: src/caffe/layers/hdf5_output_layer.cpp.
    """

    exact_bottoms = 2
    exact_tops = 0
    has_effects = True
    not_forced = (0, 1)
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        if not self.param.hdf5_output_param.file_name:
            self.fail("hdf5_output_param needs file_name")
        self.started = False

    def reshape(self, bottom, top):
        if any(len(blob.shape) > 4 for blob in bottom) or bottom[0].shape[:1] != bottom[1].shape[:1]:
            self.fail("bottoms need up to 4 axes and the same first dimension, found "
                      f"{bottom[0].shape} and {bottom[1].shape}")

    def forward(self, bottom, top):
        import h5py
        path = self.param.hdf5_output_param.file_name
        try:
            with h5py.File(path, "a" if self.started else "w") as file:
                for name, blob in zip(("data", "label"), bottom, strict=True):
                    self._append(file, name, blob.data.reshape(blob.num, blob.channels, blob.height, blob.width))
        except (OSError, RuntimeError) as error:        # missing folder, full disk, locked file
            self.fail(f"cannot write '{path}': {error}")
        self.started = True

    @staticmethod
    def _append(file, name: str, rows) -> None:
        if name not in file:
            file.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]))
            return
        count = len(file[name])
        file[name].resize(count + len(rows), axis=0)
        file[name][count:] = rows

    def backward(self, top, propagate_down, bottom):
        """No gradient."""
