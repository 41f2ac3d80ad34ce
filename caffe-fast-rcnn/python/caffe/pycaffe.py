"""The functions and classes of pycaffe, gathered from the engine."""
from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch

from .engine.blob import Blob
from .engine.device import (
    keep_freed_memory,
    peak_memory_mb,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_precision,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from .engine.files.feature_cache import FeatureCache
from .engine.fillers import fill as fill_blob
from .engine.layer import TEST, TRAIN, AutogradLayer, BlobVec, LayerError, register
from .engine.layer import Layer as EngineLayer
from .engine.layer import PythonLayer as Layer
from .engine.layer import layer_types as layer_type_list
from .engine.parallel import ParallelError, gather_arrays, gather_values, init_parallel
from .engine.solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)
from .errors import CaffeError, SolverError
from .kernels import nms, nms_sorted
from .log_format import LogFormatter
from .profile import Profile
from .pycaffe_net import Net
from .spans import span

Solver.net_type = Net       # solver.net and solver.test_nets are nets as users know them

__all__ = [
    "AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "AutogradLayer", "Blob", "BlobVec", "CaffeError", "EngineLayer",
    "FeatureCache", "Layer", "LayerError", "NCCL", "NesterovSolver", "Net", "ParallelError", "Profile",
    "RMSPropSolver", "SGDSolver", "SolverError", "TEST", "TRAIN", "Timer", "fill_blob", "gather_arrays",
    "gather_values", "get_solver", "has_gpu", "has_nccl", "init_log", "init_parallel", "keep_freed_memory",
    "layer_type_list", "log", "nms", "nms_sorted", "peak_memory_mb", "register_layer", "set_device", "set_mode_cpu",
    "set_mode_gpu", "set_multiprocess", "set_precision", "set_random_seed", "set_solver_count", "set_solver_rank",
    "solver_count", "solver_rank", "span",
]

_LOG = logging.getLogger("caffe")


def register_layer(name: str) -> Callable[[type[EngineLayer]], type[EngineLayer]]:
    """Class decorator: nets built from now on know the layer under `name`, the `type` in prototxts (ours).

    The class derives from `caffe.EngineLayer` or `caffe.AutogradLayer`; docs/adding_a_layer.md shows one. Raises
    TypeError for other classes and ValueError for a name that is taken. A `caffe.Layer` needs no registration:
    prototxts name it in python_param.
    """
    def decorate(cls: type[EngineLayer]) -> type[EngineLayer]:
        if not (isinstance(cls, type) and issubclass(cls, EngineLayer)):
            raise TypeError(f"register_layer('{name}'): {getattr(cls, '__name__', cls)!r} must derive from "
                            "caffe.EngineLayer or caffe.AutogradLayer")
        return register(name)(cls)
    return decorate


def has_gpu() -> bool:
    """True where PyTorch sees a CUDA device (ours)."""
    return torch.cuda.is_available()


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Print the engine's log to stderr: level 0 from INFO, 1 from WARNING, 2 from ERROR on.

    stderr is pycaffe's argument; there are no log files here, so it changes nothing.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(handlers=[handler])
    _LOG.setLevel((logging.INFO, logging.WARNING, logging.ERROR)[min(max(level, 0), 2)])


def log(message: str) -> None:
    """Write one line to the engine's log."""
    _LOG.info(message)


def set_multiprocess(multiprocess: bool) -> None:
    """Changes nothing: `init_parallel` is what lets processes train together."""


def has_nccl() -> bool:
    """False: pycaffe's NCCL class is not here."""
    return False


class NCCL:
    """pycaffe's exchange of gradients between GPUs, which is not here: making one raises RuntimeError."""

    def __init__(self, solver, uid: str) -> None:
        raise RuntimeError("caffe.NCCL is not here: scripts can ask caffe.has_nccl() and train on one device")


class Timer:
    """Stop watch: `start`, `stop`, then `ms`, the milliseconds between them; waits for the GPU where one is used."""

    def __init__(self) -> None:
        self._started = self._stopped = 0.0

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self) -> None:
        """Start the watch."""
        self._started = self._now()

    def stop(self) -> None:
        """Stop the watch."""
        self._stopped = self._now()

    @property
    def ms(self) -> float:
        """Milliseconds between start and stop."""
        return 1000.0 * (self._stopped - self._started)
