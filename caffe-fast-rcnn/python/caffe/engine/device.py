"""The device and type of tensors, random numbers, and this process's rank among several solvers.

One setting for the whole process, as in Caffe: `set_mode_cpu`, `set_mode_gpu`, `set_device`, `set_solver_rank`.
"""
from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import resource
import sys
from collections.abc import Iterator

import torch

from ..kernels import _cpu

_CPU = torch.device("cpu")
_MASK = (1 << 63) - 1
_MALLOC_TRIM_THRESHOLD, _MALLOC_MOST_MAPPED = -1, -4        # options of glibc's mallopt, from malloc.h
_MOST_PINNED = 1 << 26      # bytes: PyTorch never frees pinned memory, and larger tensors are weights, sent only once


class _Settings:
    use_gpu = False
    gpu_id = 0
    float_type = torch.float32
    precision = "float32"
    keeps_types = False
    seed = 0
    generators: dict[torch.device, torch.Generator] = {}
    solver_count, solver_rank = 1, 0


def set_mode_cpu() -> None:
    """Compute on the CPU from now on; blobs move when they are next used."""
    _Settings.use_gpu = False


def has_gpu() -> bool:
    """Whether PyTorch sees a CUDA device (ours)."""
    return torch.cuda.is_available()


def set_mode_gpu() -> None:
    """Compute on the CUDA device chosen by `set_device`.

    Raises RuntimeError if PyTorch sees no CUDA device.
    """
    if not has_gpu():
        raise RuntimeError("set_mode_gpu: PyTorch sees no CUDA device; use set_mode_cpu, or install a CUDA build")
    _Settings.use_gpu = True
    set_precision(_Settings.precision)


def set_device(gpu_id: int) -> None:
    """Choose the CUDA device, counted from 0. Raises ValueError if there is no such device."""
    count = torch.cuda.device_count()
    if count and not 0 <= gpu_id < count:
        raise ValueError(f"set_device: no GPU {gpu_id}; there are {count}, numbered from 0")
    _Settings.gpu_id = gpu_id


def current_device() -> torch.device:
    """The device on which blobs are kept."""
    return _gpu(_Settings.gpu_id) if _Settings.use_gpu else _CPU


@functools.cache
def _gpu(gpu_id: int) -> torch.device:
    return torch.device("cuda", gpu_id)


def send(tensor: torch.Tensor, where: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """The tensor on a device and in a type; the same object if nothing changes.

    Copies to CUDA are asynchronous, through pinned memory, so the original may be overwritten at once.
    """
    tensor = tensor.to(dtype or tensor.dtype)
    if tensor.device.type == "cpu" and where.type == "cuda" and tensor.numel() * tensor.element_size() < _MOST_PINNED:
        return torch.empty_like(tensor, pin_memory=True).copy_(tensor).to(where, non_blocking=True)
    return tensor.to(where)


def float_type() -> torch.dtype:
    """The type in which blobs expose their values: float32, or float64 inside `use_float_type(torch.float64)`."""
    return _Settings.float_type


PRECISIONS = ("float32", "tf32", "bfloat16")


def set_precision(name: str) -> None:
    """Choose the arithmetic of convolutions and matrix products; weights, their updates and losses stay float32.

    float32   reproduces Caffe's numbers to 1e-4 or better; the default
    tf32      float32 with factors rounded to TF32 (10-bit mantissa) on CUDA devices that support it; elsewhere float32
    bfloat16  factors and results are bfloat16, sums float32: up to twice as fast on CPUs, and more on CUDA, where the
              remaining float32 products may use TF32. Blobs between such layers are stored in bfloat16; `blob.data`
              shows them as float32. On devices that would have to emulate it (see `has_bfloat16`), which takes
              several times as long as float32, everything is computed in float32

    Raises ValueError for another name.
    """
    if name not in PRECISIONS:
        raise ValueError(f"set_precision: choose one of {', '.join(PRECISIONS)}, got {name!r}")
    _Settings.precision = name
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name != "float32"


def precision() -> str:
    """The name given to `set_precision`."""
    return _Settings.precision


def has_bfloat16() -> bool:
    """Whether the current device has instructions for products of bfloat16 (ours).

    CPUs need AVX512-BF16 or AMX, or ARM's BF16; GPUs compute capability 8.0.
    """
    return _has_bfloat16(current_device())


@functools.cache
def _has_bfloat16(where: torch.device) -> bool:
    if where != _CPU:
        return torch.cuda.get_device_capability(where) >= (8, 0)
    if platform.machine() in ("aarch64", "arm64"):
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return _cpu.multiplies_bfloat16()


def factor_type(dtype: torch.dtype) -> torch.dtype:
    """The type to which convolutions and matrix products convert values of `dtype`; see `set_precision`."""
    if _Settings.keeps_types or dtype not in (torch.float32, torch.bfloat16):
        return dtype
    return torch.bfloat16 if _Settings.precision == "bfloat16" and has_bfloat16() else torch.float32


def as_factor(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in its `factor_type`."""
    return tensor.to(factor_type(tensor.dtype))


@contextlib.contextmanager
def use_precision(name: str) -> Iterator[None]:
    """Use another precision inside a block."""
    before = _Settings.precision
    set_precision(name)
    try:
        yield
    finally:
        set_precision(before)


@contextlib.contextmanager
def keep_types() -> Iterator[None]:
    """Inside a block, convolutions and matrix products take values in the type that they have, in float32 precision."""
    before, _Settings.keeps_types = _Settings.keeps_types, True
    try:
        with use_precision("float32"):
            yield
    finally:
        _Settings.keeps_types = before


@contextlib.contextmanager
def use_float_type(dtype: torch.dtype) -> Iterator[None]:
    """Build and run nets in another floating-point type, for gradient checks."""
    before, _Settings.float_type = _Settings.float_type, dtype
    try:
        yield
    finally:
        _Settings.float_type = before


def set_random_seed(seed: int) -> None:
    """Seed fillers and dropout on every device."""
    _Settings.seed = int(seed)
    _Settings.generators.clear()


def seed_pass(seed: int, number: int) -> None:
    """Make the random numbers of one training pass (forward and backward) a function of (seed, number).

    number  pass number over all iterations and all processes that train the net together
    A resumed run then draws the same dropout masks as an uninterrupted one, and several processes the same as one.
    """
    set_random_seed((seed * 1_000_003 + number * 7_919 + 1) & _MASK)


def generator() -> torch.Generator:
    """The random number generator of the current device."""
    device = current_device()
    if device not in _Settings.generators:
        _Settings.generators[device] = torch.Generator(device).manual_seed(_Settings.seed & _MASK)
    return _Settings.generators[device]


def solver_count() -> int:
    """Number of solvers that train one net together, each in its own process; 1 unless set."""
    return _Settings.solver_count


def set_solver_count(count: int) -> None:
    """Set the number of solvers, as `init_parallel` does; data layers then read only their share."""
    _Settings.solver_count = int(count)


def solver_rank() -> int:
    """The rank of this process's solver, counted from 0."""
    return _Settings.solver_rank


def set_solver_rank(rank: int) -> None:
    """Set the rank of this process's solver."""
    _Settings.solver_rank = int(rank)


def is_own_turn(number: int) -> bool:
    """Whether this process handles the record or batch with this number, from 0: each takes every N-th."""
    return number % _Settings.solver_count == _Settings.solver_rank


@functools.cache
def survive_forks() -> None:
    """Make forked children compute on one thread; otherwise they hang in their first large operation.

    A fork does not copy OpenMP's idle worker threads, and the child would wait for them.
    """
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


def keep_freed_memory() -> None:
    """Keep freed memory in this process, for the large blobs of its next pass (Linux with glibc).

    Otherwise the system reclaims it and clears it again for each blob, which takes up to a quarter of a pass on the
    CPU. Peak memory grows by about a fifth. For programs that run one net repeatedly; cannot be undone.
    """
    allocator = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if allocator is not None:
        allocator(_MALLOC_MOST_MAPPED, 0)       # no separate mappings, which would be unmapped when freed
        allocator(_MALLOC_TRIM_THRESHOLD, -1)   # the top of the heap is not trimmed


def memory_size() -> int:
    """Bytes of memory for blobs: that of the machine or container, or of the GPU in use if it has more."""
    on_gpu = _Settings.use_gpu and has_gpu()
    gpu = torch.cuda.get_device_properties(_Settings.gpu_id).total_memory if on_gpu else 0
    return max(_host_memory(), gpu)


@functools.cache
def _host_memory() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            return min(machine, int(file.read()))
    except (OSError, ValueError):       # no container, or no limit
        return machine


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory could not be allocated, on a GPU or on the host (for which PyTorch has no error type)."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def peak_memory_mb() -> float:
    """Peak memory so far, in MB: of the GPU if one is used, else of this process."""
    if _Settings.use_gpu:
        return torch.cuda.max_memory_allocated(current_device()) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10      # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
