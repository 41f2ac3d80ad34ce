"""Blobs: n-dimensional arrays with a gradient, exposed as NumPy arrays and as torch tensors.

The two sides are synchronised by Caffe's rule: the side written last is current, and it is copied only when the other
side is read. On the CPU both sides share memory. On CUDA, values that NumPy has written or read stay on the host until
a tensor is requested: reading them again costs nothing, and the copy to the device is asynchronous. While a NumPy view
exists, the blob keeps that array unless its shape changes, so the view follows later forward passes.

Layers pass tensors on without copying, so several blobs may hold the same tensor: it is replaced, never written in
place. Memory with a NumPy view is written in place and belongs to one blob (or to blobs that use `share_data`).

A layer that computes in bfloat16 (device.set_precision) leaves its results in that type. Layers that support
both types read them as stored; reading `tensor` or `data` converts them to float32 permanently.
"""
from __future__ import annotations

import math
import weakref
from collections.abc import Iterable

import numpy as np
import torch

from ..errors import CaffeError
from . import device

_CPU = torch.device("cpu")
_MOST_IN_AN_AXIS = 2**31 - 1        # as in Caffe
_MOST_UNCHECKED = 2**28             # bytes, which every machine has
_COUNT_OF_ONE_TENSOR = 2        # references to a storage: the tensor's and the query's
_storage_references = getattr(torch._C, "_storage_Use_Count", None)     # not public in PyTorch


class BlobError(CaffeError, ValueError):
    """A shape that no blob can have: not of whole numbers from 0 on, or more values than the memory holds."""


def checked_shape(shape: Iterable[int]) -> tuple[int, ...]:
    """The shape of a blob, or of a layer's intermediate result, as a tuple. Raises BlobError."""
    wanted = tuple(shape)
    try:
        new = tuple(int(dim) for dim in wanted)
    except (TypeError, ValueError, OverflowError):
        new = ()
    if new != wanted:
        raise BlobError(f"reshape: expected whole numbers, as in reshape(2, 3), got {wanted}")
    if any(dim < 0 for dim in new):
        raise BlobError(f"reshape: every dimension must be at least 0, got {new}")
    if max(new, default=0) > _MOST_IN_AN_AXIS:
        raise BlobError(f"a dimension of {new} is above {_MOST_IN_AN_AXIS}")
    size = math.prod(new) * device.float_type().itemsize
    if size > _MOST_UNCHECKED and size > device.memory_size():
        raise BlobError(f"a blob of shape {new} takes {size / 2**30:,.0f} GiB, this machine has "
                        f"{device.memory_size() / 2**30:,.0f}")
    return new


def _shares_memory(tensor: torch.Tensor) -> bool:
    """Whether another tensor or array uses the same memory; also true if PyTorch cannot tell."""
    storage = tensor.untyped_storage()
    return _storage_references is None or _storage_references(storage._cdata) > _COUNT_OF_ONE_TENSOR


class _Array:
    """One array of a blob (data or diff); several blobs may share one, each with its own shape."""

    __slots__ = ("tensor", "_host", "freed_as", "was_used", "_factor", "__weakref__")

    # Arrays with a NumPy view on the CPU, by memory address: others must not take over this memory.
    # A stale entry is harmless: it costs one extra copy.
    _seen_by_numpy: weakref.WeakValueDictionary[int, _Array] = weakref.WeakValueDictionary()

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.tensor: torch.Tensor | None = None     # the values, on the device of their last use
        self._host: weakref.ref[np.ndarray] | None = None
        self.freed_as = ""                          # the blob's name, if the values were freed
        self.was_used = False                       # read or written since this was last set to False
        self._factor: tuple[torch.Tensor, int, torch.Tensor] | None = None      # tensor, its version, copy of it

    def __getstate__(self) -> tuple[torch.Tensor | None, str]:
        """What a copy and a pickle hold: a copied view would not share memory with the copied tensor."""
        return self.tensor, self.freed_as

    def __setstate__(self, state: tuple[torch.Tensor | None, str]) -> None:
        self.clear()
        self.tensor, self.freed_as = state

    @property
    def host(self) -> np.ndarray | None:
        """The array behind the views handed out, None once all are gone; stale while the tensor is on a device."""
        return None if self._host is None else self._host()

    def as_tensor(self, shape: tuple[int, ...]) -> torch.Tensor:
        tensor, where, self.was_used = self.tensor, device.current_device(), True
        if tensor is not None and tensor.shape == shape and tensor.dtype == device.float_type() \
                and tensor.device == where:
            return tensor       # the fast path, taken hundreds of times per pass
        return self._on(where, shape)

    def _on(self, where: torch.device, shape: tuple[int, ...]) -> torch.Tensor:
        """Move the tensor to a device, in the engine's type."""
        tensor, dtype = self.tensor, device.float_type()
        if tensor is None:
            if self.freed_as:
                raise RuntimeError(
                    f"blob '{self.freed_as}' was freed after its last reader, or not computed because it has none: "
                    f"name it in net.free_intermediates(keep=['{self.freed_as}'])")
            self.tensor = torch.zeros(shape, device=where, dtype=dtype)
        elif tensor.device != where or tensor.dtype != dtype:
            self.tensor = device.send(tensor, where, dtype)
            if where == _CPU:       # not the view's memory
                self._host = None
        return self._shaped(shape)

    def _shaped(self, shape: tuple[int, ...]) -> torch.Tensor:
        assert self.tensor is not None
        if self.tensor.shape == shape:
            return self.tensor
        if not self.tensor.is_contiguous():     # so that the reshaped tensor is a view, not a copy
            self.tensor = self.tensor.contiguous()
        return self.tensor.view(shape)

    def as_stored(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor in its stored type; zeros and values from another device in the engine's type."""
        kept = self.tensor
        if kept is None or kept.dtype != torch.bfloat16 or kept.device != device.current_device():
            return self.as_tensor(shape)
        return self._shaped(shape)

    def as_factor(self, shape: tuple[int, ...], layout: torch.memory_format) -> torch.Tensor:
        """The values in their factor type and the given memory layout.

        The copy is cached until the values change, except while there is a NumPy view and for a tensor of inference
        mode, since writes to these cannot be detected.
        """
        tensor = self.as_stored(shape)
        dtype = device.factor_type(tensor.dtype)
        if tensor.dtype == dtype and tensor.is_contiguous(memory_format=layout):
            return tensor
        if (self.host is not None and not self._is_away()) or tensor.is_inference():
            return tensor.to(dtype).contiguous(memory_format=layout)
        kept = self._factor
        if kept is None or kept[0] is not self.tensor or kept[1] != tensor._version or kept[2].shape != shape \
                or kept[2].dtype != dtype or not kept[2].is_contiguous(memory_format=layout):
            assert self.tensor is not None
            kept = self._factor = None      # free the old copy before allocating the new one
            kept = self._factor = (self.tensor, tensor._version, tensor.to(dtype, memory_format=layout, copy=True))
        return kept[2]

    def as_numpy(self, shape: tuple[int, ...]) -> np.ndarray:
        self.was_used, self._factor = True, None
        host = self.host
        if host is not None and self._is_away() and torch.from_numpy(host).dtype == device.float_type():
            self.tensor = torch.from_numpy(host).copy_(self._shaped(host.shape))      # the view follows
        tensor = self._on(_CPU, shape)
        host = self.host
        if host is None or self.tensor is None or not self.tensor.is_contiguous():
            self.tensor = tensor.contiguous()
            self.take_memory()
            host = self.tensor.numpy()
            self._host = weakref.ref(host)
            self._seen_by_numpy[self.tensor.untyped_storage().data_ptr()] = self
        return host if host.shape == shape else host.reshape(shape)

    def _is_away(self) -> bool:
        """Whether the values are on a device other than the CPU."""
        return self.tensor is not None and self.tensor.device != _CPU

    def take_memory(self) -> None:
        """Move to separate memory if it is shared with other arrays, before writing into it."""
        if self.tensor is not None and (self.host is None or self._is_away()) and _shares_memory(self.tensor):
            self.tensor = self.tensor.clone()

    def as_own(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The tensor in contiguous memory that no other array uses, to be changed by any means."""
        self._factor = None     # NumPy does not change the tensor's version
        self.tensor = self.as_tensor(shape).contiguous()
        self.take_memory()
        return self.tensor

    def assign(self, value: torch.Tensor) -> None:
        kept, on_cpu, self.was_used = self.tensor, value.device.type == "cpu", True
        if on_cpu and self._seen_by_numpy:
            owner = self._seen_by_numpy.get(value.untyped_storage().data_ptr())
            if owner is not None and owner is not self and owner.host is not None:
                value = value.clone()
        if on_cpu and self.host is not None and kept is not None and kept.device == value.device \
                and value.dtype in (kept.dtype, torch.bfloat16) and kept.numel() == value.numel():
            if kept.data_ptr() != value.data_ptr() or kept.stride() != value.stride():
                kept.copy_(value.reshape(kept.shape))
        else:
            self.tensor = value
            if on_cpu:              # on CUDA the view is refilled when it is next read
                self._host = None
        self.freed_as = ""

    def discard(self) -> None:
        """Drop values that are on a device other than the CPU."""
        if self._is_away():
            host = self.host
            self.tensor = None if host is None else torch.from_numpy(host)

    def snapshot(self) -> _Array:
        """The current values, unaffected by later writes; copied only if their memory is written in place."""
        found = _Array()
        if self.tensor is not None:
            is_written_into = self.host is not None and not self._is_away()
            found.tensor = self.tensor.clone() if is_written_into else self.tensor.detach()
        return found

    def adopt(self, values: np.ndarray) -> None:
        """Use an array as the values; if a view was handed out, copy into it instead, so that it stays valid."""
        self.discard()
        host = self.host
        if host is not None and host.size == values.size:
            np.copyto(host, values.reshape(host.shape), casting="same_kind")
        else:
            self.clear()
            self.tensor = torch.from_numpy(np.ascontiguousarray(values))


class Blob:
    """An array with a gradient; `Blob(2, 3)` has two axes, `Blob()` is a scalar. Zero until written.

    shape   tuple of ints
    data    the values, a writable C-contiguous NumPy array (float32)
    diff    the gradient, an array like `data`
    tensor  the values as a torch tensor on the current device; assignable (ours, not in BVLC Caffe)
    grad    the gradient as a torch tensor; assignable (ours)
    stored  the values in the type in which the last layer wrote them: `tensor`'s or bfloat16 (ours)
    stored_grad  the gradient in its stored type (ours)
    """

    def __init__(self, *shape: int) -> None:
        self.shape = checked_shape(shape)
        self._data = _Array()
        self._diff = _Array()

    def __repr__(self) -> str:
        return f"Blob{self.shape}"

    # ---- shape
    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def num_axes(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def _legacy_axis(self, axis: int) -> int:
        if len(self.shape) > 4:
            raise ValueError(f"num, channels, height and width are for blobs of up to 4 axes; this one is {self.shape}")
        return self.shape[axis] if axis < len(self.shape) else 1

    num = property(lambda self: self._legacy_axis(0), doc="Length of axis 0, 1 if there is none.")
    channels = property(lambda self: self._legacy_axis(1), doc="Length of axis 1, 1 if there is none.")
    height = property(lambda self: self._legacy_axis(2), doc="Length of axis 2, 1 if there is none.")
    width = property(lambda self: self._legacy_axis(3), doc="Length of axis 3, 1 if there is none.")

    def reshape(self, *shape: int) -> None:
        """Change the shape; values are kept if their number does not change, else zeroed. Raises BlobError."""
        if shape == self.shape:
            return
        new = checked_shape(shape)
        if math.prod(new) != self.count:
            self._data, self._diff = _Array(), _Array()
        self.shape = new

    # ---- values
    @property
    def data(self) -> np.ndarray:
        return self._data.as_numpy(self.shape)

    @property
    def diff(self) -> np.ndarray:
        return self._diff.as_numpy(self.shape)

    @property
    def tensor(self) -> torch.Tensor:
        return self._data.as_tensor(self.shape)

    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None:
        self._assign(self._data, value)

    @property
    def grad(self) -> torch.Tensor:
        return self._diff.as_tensor(self.shape)

    @grad.setter
    def grad(self, value: torch.Tensor) -> None:
        self._assign(self._diff, value)

    @property
    def stored(self) -> torch.Tensor:
        return self._data.as_stored(self.shape)

    @property
    def stored_grad(self) -> torch.Tensor:
        return self._diff.as_stored(self.shape)

    def to_overwrite(self) -> torch.Tensor:
        """The stored values in unshared memory, ready to be changed in place."""
        self._data.take_memory()
        return self.stored

    def to_update(self) -> torch.Tensor:
        """The values in unshared, contiguous memory, ready to be changed in place."""
        return self._data.as_own(self.shape)

    def grad_to_update(self) -> torch.Tensor:
        """The gradient in unshared, contiguous memory, ready to be changed in place."""
        return self._diff.as_own(self.shape)

    def factor(self, layout: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
        """The values in the type used for products (device.factor_type); read-only."""
        return self._data.as_factor(self.shape, layout)

    @property
    def has_values(self) -> bool:
        """False if no value was ever written or read, or if the values were freed."""
        return self._data.tensor is not None

    @property
    def has_grad(self) -> bool:
        """False if no gradient was ever written or read: it is then zero and takes no memory."""
        return self._diff.tensor is not None

    def watch_grad(self) -> None:
        """Start tracking whether the gradient is read or written: see `grad_was_used`."""
        self._diff.was_used = False

    @property
    def grad_was_used(self) -> bool:
        """Whether anything read or wrote the gradient since `watch_grad`."""
        return self._diff.was_used

    def _assign(self, array: _Array, value: torch.Tensor) -> None:
        if value.shape != self.shape and value.numel() != self.count:
            raise ValueError(f"a blob of shape {self.shape} cannot take values of shape {tuple(value.shape)}")
        array.assign(value.detach())

    def set_data(self, values: np.ndarray) -> None:
        """Take over the shape and values of an array, without fetching the old values (ours).

        The array becomes the blob's memory unless a view of `data` exists: do not write to it later.
        """
        self.reshape(*values.shape)
        self._data.adopt(values)

    def discard(self) -> None:
        """Declare that all of `data` is about to be overwritten, so that old values on CUDA need not be fetched."""
        self._data.discard()

    # ---- sharing
    def share_data(self, other: Blob) -> None:
        """Use the other blob's values from now on; the number of values must agree, shapes may differ."""
        self._check_same_count(other)
        self._data = other._data

    def share_diff(self, other: Blob) -> None:
        """Use the other blob's gradient from now on."""
        self._check_same_count(other)
        self._diff = other._diff

    def shares_data_with(self, other: Blob) -> bool:
        """Whether both blobs use the same array of values."""
        return self._data is other._data

    def snapshot(self) -> Blob:
        """A blob with the current shape and values, unaffected by later writes, that shares this blob's gradient."""
        found = Blob(*self.shape)
        found._data, found._diff = self._data.snapshot(), self._diff
        return found

    def without_gradient(self) -> Blob:
        """A blob that shares this blob's values and has a zero gradient."""
        found = Blob(*self.shape)
        found._data = self._data
        return found

    def _check_same_count(self, other: Blob) -> None:
        if self.count != other.count:
            raise ValueError(f"blobs of shapes {self.shape} and {other.shape} cannot share their values")

    def free(self, name: str) -> None:
        """Free the memory of the values. Until they are written, reading them raises RuntimeError."""
        name = self._data.freed_as or name      # for blobs that share values, the first one's
        self._data.clear()
        self._data.freed_as = name

    def allow_writing(self) -> None:
        """Allow freed values to be written in parts; they start as zeros."""
        self._data.freed_as = ""

    def zero_grad(self) -> None:
        """Set the gradient to zero. Without a NumPy view its memory is freed, and the next gradient replaces it."""
        if self._diff.host is None:
            self._diff.clear()
        elif self.has_grad:
            self._diff.take_memory()
            self._diff.as_tensor(self.shape).zero_()
