"""Where tensors live, in which type they are computed, the random numbers of the engine, and which of several solvers
this process runs.

One setting for the whole process, as in Caffe: `set_mode_cpu`, `set_mode_gpu`, `set_device`, `set_solver_rank`.
"""
from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator

import torch

_MASK = (1 << 63) - 1


class _Settings:
    use_gpu = False
    gpu_id = 0
    float_type = torch.float32
    seed = 0
    generators: dict[torch.device, torch.Generator] = {}
    solver_count, solver_rank = 1, 0


def set_mode_cpu() -> None:
    """Compute on the CPU from now on; blobs move when they are next used."""
    _Settings.use_gpu = False


def set_mode_gpu() -> None:
    """Compute on the CUDA device chosen by `set_device`.

    Raises RuntimeError where PyTorch sees no CUDA device.
    """
    if not torch.cuda.is_available():
        raise RuntimeError("set_mode_gpu: PyTorch sees no CUDA device; use set_mode_cpu, or install a CUDA build")
    torch.backends.cudnn.allow_tf32 = False     # float32 means float32: Caffe's numbers to 1e-4 and better
    torch.backends.cuda.matmul.allow_tf32 = False
    _Settings.use_gpu = True


def set_device(gpu_id: int) -> None:
    """Choose the CUDA device, counted from 0. Raises ValueError where there is no such device."""
    count = torch.cuda.device_count()
    if count and not 0 <= gpu_id < count:
        raise ValueError(f"set_device: no GPU {gpu_id}; there are {count}, numbered from 0")
    _Settings.gpu_id = gpu_id


def current_device() -> torch.device:
    """The device on which blobs are kept."""
    return torch.device("cuda", _Settings.gpu_id) if _Settings.use_gpu else torch.device("cpu")


def float_type() -> torch.dtype:
    """The type of every blob: float32, or float64 inside `use_float_type(torch.float64)`."""
    return _Settings.float_type


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
    """Make the random numbers of one forward and backward pass of a training a function of (seed, number) alone.

    number  of the pass among those of all iterations and of all processes that train the net together
    A run that continues from a checkpoint then draws the same dropout masks as one that never stopped, and several
    processes draw what one would.
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
    """Say how many there are. `init_parallel` does; data layers then read their share only."""
    _Settings.solver_count = int(count)


def solver_rank() -> int:
    """Which of them this process runs, counted from 0."""
    return _Settings.solver_rank


def set_solver_rank(rank: int) -> None:
    """Say which one this process runs."""
    _Settings.solver_rank = int(rank)


def is_own_turn(number: int) -> bool:
    """Whether the record or batch of this number, counted from 0, is for this process: each takes every N-th."""
    return number % _Settings.solver_count == _Settings.solver_rank


def peak_memory_mb() -> float:
    """The most memory used so far, in MB: of the GPU while one is used, else of this process."""
    if _Settings.use_gpu:
        return torch.cuda.max_memory_allocated(current_device()) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10      # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
