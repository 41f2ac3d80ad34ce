"""HDF5Output."""
import h5py
import numpy as np
import pytest
from layer_checker import Runner, randn, refused

from caffe.engine.layer import LayerError


def test_rows_of_every_forward_are_kept(tmp_path):
    path = tmp_path / "out.h5"
    path.write_bytes(b"an older file")
    runner = Runner(f"type: 'HDF5Output' hdf5_output_param {{ file_name: '{path}' }}", [randn(2, 3), randn(2)],
                    num_tops=0)
    runner.forward()
    runner.set_bottoms([randn(4, 3), randn(4)])
    runner.forward()
    with h5py.File(path) as file:
        assert file["data"].shape == (6, 3, 1, 1) and file["label"].shape == (6, 1, 1, 1)
        wanted = np.concatenate([randn(2, 3), randn(4, 3)])
        np.testing.assert_allclose(file["data"][:, :, 0, 0], wanted, rtol=1e-6)


def test_gradients_are_left_alone(tmp_path):
    runner = Runner(f"type: 'HDF5Output' hdf5_output_param {{ file_name: '{tmp_path / 'out.h5'}' }}",
                    [randn(2, 3), randn(2)], num_tops=0)
    runner.forward()
    runner.bottom[0].diff[...] = 7
    runner.layer.backward([], [True, True], runner.bottom)
    assert (runner.bottom[0].diff == 7).all() and not runner.bottom[1].has_grad


def test_bad_input():
    refused("type: 'HDF5Output'", [(2, 3), (2,)], "file_name", num_tops=0)
    refused("type: 'HDF5Output' hdf5_output_param { file_name: 'x' }", [(2, 3), (3,)], "first dimension", num_tops=0)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    for path in (tmp_path / "no folder" / "out.h5", tmp_path):
        runner = Runner(f"type: 'HDF5Output' hdf5_output_param {{ file_name: '{path}' }}", [randn(2, 3), randn(2)],
                        num_tops=0)
        with pytest.raises(LayerError, match=f"layer 'tested' .*cannot write '{path}'"):
            runner.forward()
