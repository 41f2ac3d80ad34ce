"""The device and type of tensors, the engine's random numbers, and which of several solvers this process runs.

One setting for the whole process, as in Caffe: `set_mode_cpu`, `set_mode_gpu`, `set_device`, `set_solver_rank`.
"""
from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import sys
from collections.abc import Iterator

import torch

_CPU = torch.device("cpu")
_MASK = (1 << 63) - 1
_MALLOC_TRIM_THRESHOLD, _MALLOC_MOST_MAPPED = -1, -4        # options of glibc's mallopt, from malloc.h
_MOST_PINNED = 1 << 26      # bytes: PyTorch never frees pinned memory, and larger tensors, weights, are sent only once


class _Settings:
    use_gpu = False
    gpu_id = 0
    float_type = torch.float32
    precision = "float32"
    seed = 0
    generators: dict[torch.device, torch.Generator] = {}
    solver_count, solver_rank = 1, 0


def set_mode_cpu() -> None:
    """Compute on the CPU from now on; blobs move when they are next used."""
    _Settings.use_gpu = False


def has_gpu() -> bool:
    """True where PyTorch sees a CUDA device (ours)."""
    return torch.cuda.is_available()


def set_mode_gpu() -> None:
    """Compute on the CUDA device chosen by `set_device`.

    Raises RuntimeError where PyTorch sees no CUDA device.
    """
    if not has_gpu():
        raise RuntimeError("set_mode_gpu: PyTorch sees no CUDA device; use set_mode_cpu, or install a CUDA build")
    _Settings.use_gpu = True
    set_precision(_Settings.precision)


def set_device(gpu_id: int) -> None:
    """Choose the CUDA device, counted from 0. Raises ValueError where there is no such device."""
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
    """The tensor on a device and in a type; the same object where nothing changes.

    Copies to CUDA are asynchronous, through pinned memory, so the original may be overwritten at once.
    """
    tensor = tensor.to(dtype or tensor.dtype)
    if tensor.device.type == "cpu" and where.type == "cuda" and tensor.numel() * tensor.element_size() < _MOST_PINNED:
        return torch.empty_like(tensor, pin_memory=True).copy_(tensor).to(where, non_blocking=True)
    return tensor.to(where)


def float_type() -> torch.dtype:
    """The type that blobs show: float32, or float64 inside `use_float_type(torch.float64)`."""
    return _Settings.float_type


PRECISIONS = ("float32", "tf32", "bfloat16")


def set_precision(name: str) -> None:
    """Choose the arithmetic of convolutions and matrix products; weights, their updates and losses stay float32.

    float32   Caffe's numbers to 1e-4 and better; the default
    tf32      float32 with factors rounded to 10 bits, on CUDA devices that can; elsewhere the same as float32
    bfloat16  factors and results have 8 bits, sums are float32: twice as fast on CPUs with AVX512-BF16 or AMX, and
              more on CUDA; the rest of float32 may use tf32. Blobs between such layers are stored in bfloat16;
              `blob.data` shows them as float32

    Raises ValueError for another name.
    """
    if name not in PRECISIONS:
        raise ValueError(f"set_precision: choose one of {', '.join(PRECISIONS)}, got {name!r}")
    _Settings.precision = name
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name != "float32"


def precision() -> str:
    """The name given to `set_precision`."""
    return _Settings.precision


def factor_type(dtype: torch.dtype) -> torch.dtype:
    """The type in which values of `dtype` go into convolutions and matrix products: bfloat16 if that is set."""
    if dtype == torch.float32 and _Settings.precision == "bfloat16":
        return torch.bfloat16
    return torch.float32 if dtype == torch.bfloat16 and _Settings.precision != "bfloat16" else dtype


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

    number  of the pass among those of all iterations and of all processes that train the net together
    A resumed run then draws the same dropout masks as an uninterrupted one, and several processes draw those of one.
    """
    set_random_seed((seed * 1_000_003 + number * 7_919 + 1) & _MASK)


def generator() -> torch.Generator:
    """The random number generator of the current device."""
    device = current_device()
    if device not in _Settings.generators:
        _Settings.generators[device] = torch.Generator(device).manual_seed(_Settings.seed & _MASK)
    return _Settings.generators[device]


def solver_count() -> int:
    """How many solvers train one net together, each in a process of its own; 1 unless set."""
    return _Settings.solver_count


def set_solver_count(count: int) -> None:
    """Set their number, as `init_parallel` does; data layers then read only their share."""
    _Settings.solver_count = int(count)


def solver_rank() -> int:
    """Which of them this process runs, counted from 0."""
    return _Settings.solver_rank


def set_solver_rank(rank: int) -> None:
    """Set which one this process runs."""
    _Settings.solver_rank = int(rank)


def is_own_turn(number: int) -> bool:
    """Whether the record or batch with this number, from 0, belongs to this process: each takes every N-th."""
    return number % _Settings.solver_count == _Settings.solver_rank


@functools.cache
def survive_forks() -> None:
    """From now on a forked child computes on one thread; without this it hangs in its first large operation.

    The threads that OpenMP keeps for its next loop are not copied by a fork, and the child would wait for them.
    """
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


def keep_freed_memory() -> None:
    """Keep freed memory in this process, for the large blobs of its next pass (Linux with glibc).

    Otherwise the system reclaims it and clears it again for each blob, which takes up to a quarter of a pass on the
    CPU. The peak grows by about a fifth. For programs that run one net repeatedly; it cannot be undone.
    """
    allocator = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if allocator is not None:
        allocator(_MALLOC_MOST_MAPPED, 0)       # no separate mappings, which would be unmapped when freed
        allocator(_MALLOC_TRIM_THRESHOLD, -1)   # the top of the heap is not trimmed


def memory_size() -> int:
    """The bytes of memory that blobs can take: this machine's or container's, or more where a GPU in use has more."""
    on_gpu = _Settings.use_gpu and has_gpu()
    gpu = torch.cuda.get_device_properties(_Settings.gpu_id).total_memory if on_gpu else 0
    return max(_host_memory(), gpu)


@functools.cache
def _host_memory() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            return min(machine, int(file.read()))
    except (OSError, ValueError):       # no container, or none with a limit
        return machine


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory could not be allocated, on the host (for which PyTorch has no type of error) or on a GPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def peak_memory_mb() -> float:
    """The most memory used so far, in MB: of the GPU while one is used, else of this process."""
    if _Settings.use_gpu:
        return torch.cuda.max_memory_allocated(current_device()) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10      # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
