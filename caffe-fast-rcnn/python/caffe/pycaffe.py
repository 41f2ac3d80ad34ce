"""The functions and classes of pycaffe, gathered from the engine."""
from __future__ import annotations

import logging
import time

import torch

from .engine.blob import Blob
from .engine.device import peak_memory_mb, set_device, set_mode_cpu, set_mode_gpu, set_random_seed
from .engine.layer import TEST, TRAIN, BlobVec, LayerError
from .engine.layer import PythonLayer as Layer
from .engine.layer import layer_types as layer_type_list
from .engine.net import Net
from .engine.solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    SolverError,
    get_solver,
)
from .kernels import nms

__all__ = [
    "AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "Blob", "BlobVec", "Layer", "LayerError",
    "NesterovSolver", "Net", "RMSPropSolver", "SGDSolver", "SolverError", "TEST", "TRAIN", "Timer",
    "get_solver", "has_gpu", "init_log", "layer_type_list", "log", "nms", "peak_memory_mb", "set_device",
    "set_mode_cpu", "set_mode_gpu", "set_random_seed",
]

_LOG = logging.getLogger("caffe")


def has_gpu() -> bool:
    """True where PyTorch sees a CUDA device (ours)."""
    return torch.cuda.is_available()


def init_log(level: int = 0) -> None:
    """Print the engine's log: level 0 from INFO, 1 from WARNING, 2 from ERROR on."""
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s: %(message)s")
    _LOG.setLevel((logging.INFO, logging.WARNING, logging.ERROR)[min(max(level, 0), 2)])


def log(message: str) -> None:
    """Write one line to the engine's log."""
    _LOG.info(message)


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
