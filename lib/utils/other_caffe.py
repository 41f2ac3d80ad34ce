"""What our Caffe offers beyond BVLC's API, with fallbacks for a Caffe that lacks it.

No other module in lib tests what a Caffe has. Every Caffe must have pycaffe 1.0, ROIPooling, SmoothL1Loss, Python
layers with `param_str` and `phase`, Input layers, item assignment in NetSpec (to generate nets), `scale_train` of
dropout_param (for ZF) and ROIAlign (for SqueezeNet).
"""
from __future__ import annotations

import contextlib
import functools
import logging
import operator
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from google.protobuf.message import DecodeError

import caffe
from caffe.proto import caffe_pb2
from utils.errors import UserError

try:        # our reader of prototxts, whose errors name the line and the nearest name
    from caffe.proto import prototxt as our_prototxt
except ImportError:
    our_prototxt = None     # type: ignore[assignment]

# Classes of the imported Caffe, which differ
Net = Any
Blob = Any
Solver = Any
FrozenPrefix = Any      # the cache of features of a net's frozen layers
Tensor = Any            # of torch, which only the engine imports

# Raised by layers for wrong settings. Our engine adds the layer's name, file and line, and the tools report it as a
# user error.
SettingError: type[ValueError] = getattr(caffe, "LayerError", ValueError)

# Raised when a process of a parallel run has ended, by our engine alone: no other Caffe runs in parallel.
ParallelError: type[RuntimeError] = getattr(caffe, "ParallelError", RuntimeError)

# The parent of lib's packages when installed; '' in the checkout. See lib/frcnn/_modules.py
_PARENT = __name__.removesuffix("utils.other_caffe").rstrip(".")
_WITH_LAYERS = ("roi_data_layer", "rpn")        # packages whose Python layers prototxts name

# Context manager that labels its block in the profile
span: Callable[[str], AbstractContextManager] = getattr(caffe, "span", contextlib.nullcontext)


# ---- the device
def has_gpu() -> bool | None:
    """Whether there is a GPU; None if this Caffe cannot tell."""
    return caffe.has_gpu() if hasattr(caffe, "has_gpu") else None


def has_nms() -> bool:
    """Whether this Caffe has `caffe.nms`."""
    return hasattr(caffe, "nms")


def has_bfloat16() -> bool | None:
    """Whether the current device has instructions for products of bfloat16; None if this Caffe cannot tell."""
    return caffe.has_bfloat16() if hasattr(caffe, "has_bfloat16") else None


def can_set_precision() -> bool:
    """Whether this Caffe has `caffe.set_precision`; without it everything is float32."""
    return hasattr(caffe, "set_precision")


def keep_freed_memory() -> None:
    """Make this process keep freed memory for later passes, which is faster on the CPU."""
    if hasattr(caffe, "keep_freed_memory"):
        caffe.keep_freed_memory()


def peak_memory_mb() -> float | None:
    """Peak memory of this process in MB; None if this Caffe does not measure it."""
    return caffe.peak_memory_mb() if hasattr(caffe, "peak_memory_mb") else None


# ---- several processes
def can_train_in_parallel() -> bool:
    """Whether this Caffe has `caffe.init_parallel` and can exchange values between processes."""
    return hasattr(caffe, "init_parallel")


def solver_count() -> int:
    """Number of processes that train together."""
    return caffe.solver_count() if hasattr(caffe, "solver_count") else 1


def solver_rank() -> int:
    """Rank of this process among them, from 0."""
    return caffe.solver_rank() if hasattr(caffe, "solver_rank") else 0


# ---- nets
def has_message(name: str) -> bool:
    """Whether this Caffe's caffe.proto has a message, such as SSD's LabelMap."""
    return hasattr(caffe_pb2, name)


def param_str(layer: object) -> str:
    """The `param_str` of a Python layer, which older Caffes call `param_str_`; '' if the prototxt gives none."""
    return str(getattr(layer, "param_str", "") or getattr(layer, "param_str_", ""))


def make_test_net(path: str | os.PathLike) -> Net:
    """The net of a prototxt in the TEST phase. Python layers of lib are found wherever lib is installed."""
    with caffe.layer_modules(_PARENT, _WITH_LAYERS) if _PARENT else contextlib.nullcontext():
        return caffe.Net(os.fspath(path), caffe.TEST)


def free_intermediates(net: Net, keep: Sequence[str] = ()) -> Net:
    """Make a net free each blob after its last use, except outputs and the blobs in `keep`; returns the net.

    Other Caffes keep all blobs.
    """
    if hasattr(net, "free_intermediates"):
        net.free_intermediates([name for name in keep if name in net.blobs])
    return net


def save_trained(net: Net, path: str | os.PathLike) -> None:
    """Save a net; if this Caffe can, without the layers that only share weights of others."""
    getattr(net, "save_trained", net.save)(os.fspath(path))


class Unmatched(NamedTuple):
    """Names of the layers that were not matched when loading weights, in order."""

    unused: list[str]       # layers with weights in the file, but not in the net
    unfilled: list[str]     # layers whose parameters are not in the file, neither directly nor through sharing


def copy_weights(net: Net, path: str | os.PathLike) -> Unmatched:
    """Load a caffemodel into the layers of the same names. Unmatched layers are left to the caller to report."""
    with _errors_only(logging.getLogger("caffe")):
        report = net.copy_from(os.fspath(path))
    if report is not None:      # other Caffes return nothing
        return Unmatched(report.unused, report.unfilled)
    stored, known = _stored_layers(path), set(net._layer_names)
    filled = {_address(blob) for name in stored if name in net.params for blob in net.params[name]}
    return Unmatched([name for name in stored if name not in known],
                     [name for name, blobs in net.params.items() if not filled.issuperset(map(_address, blobs))])


@contextlib.contextmanager
def _errors_only(log: logging.Logger) -> Iterator[None]:
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def stored_shapes(path: str | os.PathLike) -> dict[str, list[tuple[int, ...]]]:
    """Blob shapes of each layer with blobs in a caffemodel, binary or HDF5; {} if it cannot be read."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            return {name: [blobs[key].shape for key in sorted(blobs, key=int)]
                    for name, blobs in file["data"].items() if len(blobs)}
    try:
        param = caffe_pb2.NetParameter.FromString(Path(path).read_bytes())
    except DecodeError:
        return {}
    return {layer.name: [_stored_shape(blob) for blob in layer.blobs]
            for layer in [*param.layers, *param.layer] if layer.blobs}


def _stored_shape(blob: caffe_pb2.BlobProto) -> tuple[int, ...]:
    """Shape of a BlobProto; files of older Caffes always have four axes."""
    return tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)


def fits(stored: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether stored weights fit a blob: their shape is the same, or the same padded with leading 1s to four axes."""
    return stored == shape or (len(stored) == 4 and stored == (1,) * (4 - len(shape)) + shape)


def copy_weights_without(net: Net, path: str | os.PathLike, layers: Collection[str]) -> Unmatched:
    """`copy_weights` that ignores these layers of the file."""
    with tempfile.TemporaryDirectory() as folder:
        rest = Path(folder, Path(path).name)
        if h5py.is_hdf5(path):
            shutil.copyfile(path, rest)
            with h5py.File(rest, "r+") as file:
                for name in layers:
                    del file["data"][name]
        else:
            param = caffe_pb2.NetParameter.FromString(Path(path).read_bytes())
            for of_version in (param.layer, param.layers):
                kept = [layer for layer in of_version if layer.name not in layers]
                del of_version[:]
                of_version.extend(kept)
            rest.write_bytes(param.SerializeToString())
        return copy_weights(net, rest)


def _address(blob: Blob) -> int:
    """Address of a blob's values: equal for parameters that layers share."""
    return blob.data.ctypes.data


def _stored_layers(path: str | os.PathLike) -> list[str]:
    """Names of the layers of a caffemodel, binary or HDF5, that have weights."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            return [name for name, blobs in file["data"].items() if len(blobs)]
    param = caffe_pb2.NetParameter.FromString(Path(path).read_bytes())
    return [layer.name for layer in [*param.layer, *param.layers] if layer.blobs]


def to_onnx(net: Net, path: str | os.PathLike, **options: Any) -> None:
    """`caffe.to_onnx`. Raises UserError if this Caffe lacks it."""
    if not hasattr(caffe, "to_onnx"):
        raise UserError("this Caffe does not export to ONNX")
    caffe.to_onnx(net, path, **options)


def reuse_frozen_prefix(net: Net, folder: str | os.PathLike, memory_mb: int, disk_mb: int, preprocessing: str,
                        images: int) -> FrozenPrefix | None:
    """Make a net compute its frozen layers once per image; None if this Caffe, or the net, cannot.

    The features are kept in memory, then in `folder`; see `caffe.FeatureCache` and `net.reuse_frozen_prefix`.
    """
    if not hasattr(net, "reuse_frozen_prefix"):
        return None
    return net.reuse_frozen_prefix(caffe.FeatureCache(folder, memory_mb, disk_mb), preprocessing, images)


def clear_features(folder: str | os.PathLike) -> None:
    """Delete the cached features of `reuse_frozen_prefix`, and nothing else, from a folder."""
    if hasattr(caffe, "FeatureCache"):
        caffe.FeatureCache(folder, 0, 0).clear()


def loss_weights(net: Net) -> dict[str, float]:
    """Loss weight of each output that has one; 1 for all outputs if this Caffe does not expose them."""
    known = getattr(net, "blob_loss_weights", {})
    return {name: weight for name in net.outputs if (weight := known.get(name, 1))}


def after_every_pass(net: Net, function: Callable[[], None]) -> bool:
    """Call a function after every forward pass of a net; returns False if this Caffe has no such hook."""
    if not hasattr(net, "after_forward"):
        return False
    last = len(net.layers) - 1
    net.after_forward(lambda index: function() if index == last else None)
    return True


# ---- blobs
def blob_list(vector: Sequence[Blob]) -> list[Blob]:
    """The blobs of a layer's `bottom` or `top`, or of a slice of them.

    BVLC's vectors of blobs have a length and can be indexed and sliced, but not iterated.
    """
    return [vector[index] for index in range(len(vector))]


def blob_shape(blob: Blob) -> tuple[int, ...]:
    """Shape of a blob. Older Caffes expose only its data's, whose access may copy values from the GPU."""
    return tuple(blob.shape if hasattr(blob, "shape") else blob.data.shape)


def blob_sum(blob: Blob) -> Tensor | float:
    """Sum of a blob's values: a tensor on its device, without synchronising, or a number."""
    return blob.tensor.sum() if hasattr(blob, "tensor") else float(blob.data.sum())


def all_finite(blobs: Iterable[Blob]) -> bool:
    """Whether no value of the blobs is NaN or infinite; synchronises with a GPU once."""
    flags = [blob.tensor.isfinite().all() if hasattr(blob, "tensor") else np.isfinite(blob.data).all()
             for blob in blobs]
    return bool(functools.reduce(operator.and_, flags, True))


def set_blob(blob: Blob, values: np.ndarray) -> None:
    """Set a blob's shape and values from an array. The blob may share its memory: do not modify the array later."""
    if hasattr(blob, "set_data"):
        blob.set_data(values)
    else:
        blob.reshape(*values.shape)
        blob.data[...] = values


def set_blobs(top: Sequence[Blob], arrays: Iterable[np.ndarray]) -> None:
    """`set_blob` for each of a layer's tops."""
    for blob, values in zip(blob_list(top), arrays, strict=True):
        set_blob(blob, values)


def is_on_gpu(blob: Blob) -> bool:
    """Whether the blob has a `tensor` on a CUDA device. Other Caffes expose blobs on the host only."""
    return hasattr(blob, "tensor") and bool(blob.tensor.is_cuda)


def as_tensor(values: np.ndarray) -> Tensor:
    """The values as a float32 tensor on our Caffe's current device, without synchronising."""
    blob = caffe.Blob()
    blob.set_data(values)
    return blob.tensor


def set_tensors(top: Sequence[Blob], tensors: Iterable[Tensor]) -> None:
    """Set shape and values of a layer's tops from tensors, which stay on their device."""
    for blob, values in zip(blob_list(top), tensors, strict=True):
        blob.reshape(*values.shape)
        blob.tensor = values


# ---- solvers
def solver_problems(param: caffe_pb2.SolverParameter) -> list[tuple[str, str]]:
    """Settings that would stop a solver or keep it from learning, as pairs of the setting and the problem.

    Other Caffes report them when the solver is created.
    """
    return list(caffe.solver_problems(param)) if hasattr(caffe, "solver_problems") else []


def learning_rate(solver: Solver) -> float:
    """The learning rate of the next iteration; NaN if this Caffe does not expose it."""
    return solver.lr if hasattr(solver, "lr") else float("nan")


def set_base_lr(solver: Solver, rate: float) -> None:
    """Set a solver's base learning rate from the next iteration on. Raises SettingError if this Caffe cannot."""
    param = solver.param
    if not hasattr(param, "base_lr"):
        raise SettingError("TRAIN.WARMUP_ITERS: this Caffe cannot change base_lr while it trains; leave the setting 0")
    param.base_lr = rate
    solver.param = param        # BVLC's is a copy


def stop_function(solver: Solver, is_requested: Callable[[], bool]) -> Callable[[], bool]:
    """Returns a function that tells after each iteration whether to stop; our solvers agree across processes."""
    if not hasattr(solver, "set_action_function"):
        return is_requested
    solver.set_action_function(lambda: "stop" if is_requested() else "none")
    return lambda: solver.stopped_early


def write_no_snapshots(solver: Solver) -> bool:
    """Keep a solver from writing the snapshots that its file asks for; returns False if this Caffe cannot."""
    if not hasattr(getattr(solver, "param", None), "snapshot"):
        return False
    solver.param.snapshot = 0
    return True


def can_snapshot_to(solver: Solver) -> bool:
    """Whether this Caffe lets callers choose where a solver writes its state."""
    return hasattr(getattr(solver, "param", None), "snapshot_prefix")


def snapshot_to(solver: Solver, prefix: Path) -> Path | None:
    """Write weights and solver state to `<prefix>_iter_<n>.*`; returns the state file, or None if this Caffe cannot."""
    if not can_snapshot_to(solver):
        return None
    prefix.parent.mkdir(parents=True, exist_ok=True)
    before = solver.param.snapshot_prefix
    solver.param.snapshot_prefix = str(prefix)
    try:
        return Path(solver.snapshot())
    finally:
        solver.param.snapshot_prefix = before


def restore(solver: Solver, state: Path, weights: Path) -> None:
    """Restore a solver from a state that `snapshot_to` wrote, with these weights, whatever path the state names."""
    solver.restore(os.fspath(state), os.fspath(weights))


# ---- profiles
@contextlib.contextmanager
def profile(source: Net | Solver, first: int, iterations: int,
            report: Callable[[caffe.Profile], None]) -> Iterator[Callable[[], AbstractContextManager]]:
    """`caffe.Profile` of a net or a solver inside the block: yields a context for each iteration."""
    if not hasattr(caffe, "Profile"):
        print("--profile: this Caffe has no caffe.Profile; nothing is profiled", flush=True)
        yield contextlib.nullcontext
    else:
        with caffe.Profile(source, first, iterations, report) as measured:
            yield measured.iteration
