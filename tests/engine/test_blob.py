"""Blobs: two views of one array, sharing, reshaping."""
import copy
import os
import pickle
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe
from caffe.engine import device
from caffe.engine.blob import Blob, BlobError
from caffe.engine.net import Net
from caffe.proto import prototxt
from caffe.proto.caffe_pb2 import NetParameter

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def test_starts_as_zeros():
    blob = Blob(2, 3, 4, 5)
    assert blob.data.shape == (2, 3, 4, 5)
    assert blob.data.dtype == np.float32
    assert not blob.data.any()
    assert not blob.has_grad
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (2, 3, 4, 5, 120)


def test_scalar_blob():
    blob = Blob()
    blob.data[...] = 3
    assert blob.data.shape == ()
    assert float(blob.tensor) == 3


def test_both_sides_see_writes():
    blob = Blob(2, 3)
    blob.data[1, 2] = 5
    assert blob.tensor[1, 2] == 5
    blob.tensor = torch.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(blob.data, np.arange(6).reshape(2, 3))


def test_view_taken_once_follows_later_writes():
    blob = Blob(2, 3)
    view = blob.data
    blob.tensor = torch.ones(2, 3)
    assert view.all()
    view[0, 0] = 7
    assert blob.tensor[0, 0] == 7


@pytest.mark.parametrize("part", [
    lambda view: view[1:], lambda view: view.reshape(6)[3:], lambda view: np.asarray(memoryview(view))[1:],
    lambda view: torch.from_numpy(view)[1:], lambda view: view.T[:, 1]])
def test_a_part_of_a_view_follows_when_the_view_itself_is_gone(part):
    blob = Blob(2, 3)
    kept = part(blob.data)
    blob.tensor = torch.ones(2, 3)
    assert np.asarray(kept).all()
    kept[...] = 7
    assert (blob.tensor[1] == 7).all() and (blob.tensor[0] == 1).all()


def test_once_all_views_are_gone_tensors_are_taken_over_without_a_copy():
    blob, other = Blob(2, 3), Blob(2, 3)
    blob.data[...] = 5
    for holder in (blob, other):
        values = torch.ones(2, 3)
        holder.tensor = values
        assert holder.tensor.data_ptr() == values.data_ptr()
    blob.data[0, 0] = 3
    other.tensor = blob.tensor
    assert other.tensor.data_ptr() == blob.tensor.data_ptr()
    blob.data[0, 0] = 4
    assert other.tensor[0, 0] == 3


def test_view_of_a_channels_last_tensor_is_contiguous_and_follows():
    blob = Blob(2, 3, 4, 5)
    values = torch.arange(120.0).reshape(2, 3, 4, 5)
    blob.tensor = values.to(memory_format=torch.channels_last)
    assert blob.tensor.is_contiguous(memory_format=torch.channels_last)
    view = blob.data
    assert view.flags.c_contiguous
    np.testing.assert_array_equal(view, values.numpy())
    blob.tensor = (values + 1).to(memory_format=torch.channels_last)
    np.testing.assert_array_equal(view, values.numpy() + 1)


@pytest.mark.parametrize("shape", [((2, 3),), (2, None), ("a", 3), (2, float("nan")), (2.5, 3), ("2", 3)])
def test_reshape_names_the_shape_that_it_cannot_use(shape):
    blob = Blob(4)
    with pytest.raises(BlobError, match=r"expected whole numbers, as in reshape\(2, 3\), got \("):
        blob.reshape(*shape)
    assert blob.shape == (4,)


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda blobs: pickle.loads(pickle.dumps(blobs))])
def test_copies_have_their_own_memory(copy_of):
    blob, sharer = Blob(2, 3), Blob(3, 2)
    sharer.share_data(blob)
    view = blob.data
    view[...] = 1
    copied, copied_sharer = copy_of((blob, sharer))
    copied.data[...] += 1
    np.testing.assert_array_equal(copied.tensor.numpy(), np.full((2, 3), 2))
    np.testing.assert_array_equal(copied_sharer.data, np.full((3, 2), 2))
    np.testing.assert_array_equal(view, np.ones((2, 3)))


def test_reshape_takes_whole_numbers_of_any_type():
    blob = Blob(4)
    blob.reshape(np.int64(2), 3.0)
    assert blob.shape == (2, 3) and all(type(dim) is int for dim in blob.shape)


def test_reshape_keeps_values_of_equal_count_only():
    blob = Blob(2, 3)
    blob.data[...] = np.arange(6).reshape(2, 3)
    blob.reshape(3, 2)
    np.testing.assert_array_equal(blob.data, np.arange(6).reshape(3, 2))
    blob.reshape(4, 2)
    assert blob.data.shape == (4, 2) and not blob.data.any()


def test_sharing_data_with_another_shape():
    owner, user = Blob(2, 3), Blob(6)
    user.share_data(owner)
    owner.data[...] = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(user.data, np.arange(6))
    user.tensor = torch.ones(6)
    assert owner.data.all()
    assert not user.has_grad and not owner.has_grad


def test_blobs_that_hold_one_tensor_are_written_separately():
    values = torch.ones(2, 3)
    first, second = Blob(2, 3), Blob(2, 3)
    first.tensor = values
    second.tensor = first.tensor            # as a layer passes values on
    first.data[...] = 5
    assert (second.tensor == 1).all() and (values == 1).all()
    second.tensor = first.tensor            # now memory with a NumPy view
    first.data[...] = 6
    assert (second.data == 5).all()
    first.tensor = torch.zeros(2, 3)
    assert (second.data == 5).all() and not first.data.any()


def test_parts_of_a_tensor_with_a_view_are_copied():
    whole, part = Blob(2, 3), Blob(2, 1)
    whole.grad = torch.ones(2, 3)
    whole.diff[...] = 4
    part.grad = whole.grad.split(1, 1)[0]
    whole.diff[...] = 7
    assert (part.grad == 4).all()


def test_zeroing_a_gradient_does_not_affect_other_blobs_that_hold_it():
    first, second = Blob(2, 3), Blob(2, 3)
    first.grad = torch.ones(2, 3)
    second.grad = first.grad
    second.zero_grad()
    assert first.grad.all() and not second.grad.any()


def test_a_blobs_own_memory_is_not_copied():
    blob = Blob(2, 3)
    blob.tensor = torch.ones(2, 3)
    address = blob.tensor.data_ptr()
    assert blob.data.ctypes.data == address == blob.tensor.data_ptr()


def test_sharing_refuses_other_counts():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(5,\)"):
        Blob(2, 3).share_data(Blob(5))


def test_assignment_refuses_other_counts():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(4,\)"):
        Blob(2, 3).tensor = torch.zeros(4)


def test_an_array_becomes_the_values_without_a_copy():
    blob, array = Blob(4), np.arange(6, dtype=np.float32).reshape(2, 3)
    blob.set_data(array)
    assert blob.shape == (2, 3) and np.shares_memory(blob.data, array)
    np.testing.assert_array_equal(blob.tensor.numpy(), array)


def test_an_array_is_copied_where_a_view_must_follow():
    blob, array = Blob(2, 3), np.arange(6.0).reshape(2, 3)
    view = blob.data
    blob.set_data(array)
    np.testing.assert_array_equal(view, array)
    assert blob.data is view and blob.tensor[1, 2] == 5
    blob.set_data(np.ones((4, 2)).T)            # neither contiguous nor of the blob's type
    assert blob.data.shape == (2, 4) and blob.data.dtype == np.float32 and blob.data.all()


@pytest.fixture
def elsewhere(monkeypatch):
    """A device in place of CUDA that accepts values but raises NotImplementedError when they are fetched."""
    monkeypatch.setattr(device, "current_device", lambda: torch.device("meta"))


def test_values_written_by_the_host_are_read_without_the_device(elsewhere):
    blob, array = Blob(4), np.arange(6, dtype=np.float32).reshape(2, 3)
    blob.set_data(array)
    assert np.shares_memory(blob.data, array) and blob.data[1, 2] == 5
    piecewise = Blob(2, 3)
    piecewise.data[1] = 7
    np.testing.assert_array_equal(piecewise.data, [[0, 0, 0], [7, 7, 7]])
    assert piecewise.tensor.is_meta and blob.tensor.is_meta     # now they are on the device
    with pytest.raises(NotImplementedError):
        np.sum(blob.data)


def test_values_on_the_device_are_overwritten_without_being_fetched(elsewhere):
    blob = Blob(2, 3)
    view = blob.data
    for value in (3, 4):
        blob.set_data(np.full((2, 3), value, np.float32))
        assert (view == value).all() and blob.data is view
        assert blob.tensor.is_meta


def test_inputs_of_a_net_are_overwritten_without_being_fetched(elsewhere):
    net = NetParameter()
    prototxt.parse('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }', net, "net")
    net = Net(net, caffe.TEST)
    for value in (1, 2):
        assert net.blobs["x"].tensor.is_meta        # there is no view yet
        assert (net.forward(x=np.full((2, 3), value))["x"] == value).all()


def test_on_the_device_only_a_blobs_own_memory_is_written_into(elsewhere):
    first, second = Blob(2, 3), Blob(2, 3)
    first.data[...] = 1
    first.tensor = second.tensor = torch.ones(2, 3, device="meta")
    assert first.to_overwrite().untyped_storage()._cdata != second.tensor.untyped_storage()._cdata


def test_views_follow_from_device_to_device(monkeypatch):
    blob = Blob(2, 3)
    view = blob.data
    view[...] = 5
    with monkeypatch.context() as patch:
        patch.setattr(device, "current_device", lambda: torch.device("meta"))
        assert blob.tensor.is_meta
        blob.set_data(np.full((2, 3), 6, np.float32))
    assert (view == 6).all() and (blob.tensor == 6).all() and blob.data is view


def test_moving_a_tensor_to_its_own_device_changes_nothing():
    tensor = torch.ones(2, 3)
    assert device.send(tensor, torch.device("cpu")) is tensor
    assert device.send(tensor, torch.device("cpu"), torch.float64).dtype == torch.float64


@needs_gpu
def test_an_array_may_be_overwritten_while_it_is_copied():
    array = np.ones((15, 1 << 20), np.float32)     # the largest size that is copied through pinned memory
    device.set_mode_gpu()
    try:
        sent = device.send(torch.from_numpy(array), device.current_device())
        array[...] = 2
        assert sent.device.type != "cpu" and bool((sent == 1).all())
    finally:
        device.set_mode_cpu()


def test_float64():
    with device.use_float_type(torch.float64):
        blob = Blob(2)
        assert blob.data.dtype == np.float64


@needs_gpu
def test_gpu_views_follow_the_side_written_last():
    device.set_mode_gpu()
    try:
        blob = Blob(2, 3)
        blob.data[...] = 2
        assert blob.tensor.device == device.current_device() and bool((blob.tensor == 2).all())
        blob.tensor = blob.tensor * 3
        view = blob.data
        assert (view == 6).all()
        blob.set_data(np.full((2, 3), 7, np.float32))
        assert bool((blob.tensor == 7).all()) and (view == 7).all()
    finally:
        device.set_mode_cpu()


def test_a_relu_in_place_does_not_affect_tensors_that_share_its_memory():
    net = NetParameter()
    prototxt.parse('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } } '
                   'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }', net, "net")
    net = Net(net, caffe.TEST)
    mine = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]])
    net.blobs["x"].tensor = mine
    net.forward()
    assert mine.min() == -6 and net.blobs["x"].data.tolist() == [[1, 0, 3], [0, 5, 0]]
    view = net.blobs["x"].data
    view[...] = [[-1, 1, -1], [1, -1, 1]]
    net.forward()
    assert view.tolist() == [[0, 1, 0], [1, 0, 1]]      # the blob's own memory


MEMORY = """
import caffe, torch
from pathlib import Path
def resident_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
{call}
before = resident_mb()
values = torch.ones(50, 2 ** 20)
del values
print(resident_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
@pytest.mark.parametrize("call, kept", [("", False), ("caffe.keep_freed_memory()", True)])
@pytest.mark.slow
def test_freed_memory_is_kept_on_request(call, kept):
    done = subprocess.run([sys.executable, "-c", MEMORY.format(call=call)], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(Path(caffe.__file__).parents[1])})
    assert (float(done.stdout) > 150) == kept        # of 200 MB
