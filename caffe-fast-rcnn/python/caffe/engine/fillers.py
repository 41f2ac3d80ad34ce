"""Fillers: the initial values of parameters (include/caffe/filler.hpp)."""
from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import torch

from ..errors import CaffeError
from . import device
from .blob import Blob


class FillerError(CaffeError, ValueError):
    """A filler cannot use its settings or the given shape."""


class _Allowance:
    """The memory left for filled blobs, in bytes."""

    def __init__(self) -> None:
        self._total = self._left = device.memory_size()

    def take(self, size: int) -> None:
        """Count a blob. Raises FillerError if it does not fit."""
        self._left -= size
        if self._left < 0:
            taken, total = (self._total - self._left) / 2**30, self._total / 2**30
            raise FillerError(f"a blob of {size / 2**30:.3g} GiB takes, with those filled before it, {taken:.3g} GiB; "
                              f"this machine has {total:.3g}")


_allowance: ContextVar[_Allowance | None] = ContextVar("allowance", default=None)


@contextlib.contextmanager
def within_memory() -> Iterator[None]:
    """Require that all blobs filled in the block fit into memory together.

    Other blobs do not count: they are allocated on first use, may share memory, and may be freed early.
    """
    token = _allowance.set(_Allowance())
    try:
        yield
    finally:
        _allowance.reset(token)


def fill(blob: Blob, filler_param) -> None:
    """Fill a blob as a FillerParameter describes, drawing from `device.generator()`.

    Types: constant, uniform, gaussian, positive_unitball, xavier, msra, bilinear. Raises FillerError for an unknown
    type, for `sparse` with a type other than gaussian, for a shape that the type does not support, and, inside
    `within_memory`, if memory is exceeded.
    """
    check_filler(filler_param, blob.shape)
    allowance = _allowance.get()
    if allowance:
        allowance.take(blob.count * device.float_type().itemsize)
    blob.tensor = _FILLERS[filler_param.type](blob.shape, filler_param)


def check_filler(filler_param, shape: tuple[int, ...]) -> None:
    """Raise FillerError if `fill` would, without drawing random numbers."""
    name = filler_param.type
    if name not in _FILLERS:
        raise FillerError(f"unknown filler type '{name}'; the types are {', '.join(sorted(_FILLERS))}")
    if not math.prod(shape):
        raise FillerError(f"filler '{name}': there is nothing to fill in a blob of shape {shape}")
    if filler_param.sparse != -1 and name != "gaussian":
        raise FillerError(f"filler '{name}': `sparse` goes with gaussian only, found sparse: {filler_param.sparse}")
    if name in _CHECKS:
        _CHECKS[name](shape, filler_param)


def _empty(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, device=device.current_device(), dtype=device.float_type())


def _draw_uniform(shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
    return _empty(shape).uniform_(low, high, generator=device.generator())


def _draw_gaussian(shape: tuple[int, ...], mean: float, std: float) -> torch.Tensor:
    return _empty(shape).normal_(mean, std, generator=device.generator())


def _constant(shape, param) -> torch.Tensor:
    return _empty(shape).fill_(param.value)


def _check_uniform(shape, param) -> None:
    if param.min > param.max:
        raise FillerError(f"filler 'uniform': min {param.min} is above max {param.max}")
    if not param.max - param.min <= torch.finfo(torch.float32).max:
        raise FillerError(f"filler 'uniform': expected finite numbers, found min {param.min} and max {param.max}")


def _uniform(shape, param) -> torch.Tensor:
    return _draw_uniform(shape, param.min, param.max)


def _check_gaussian(shape, param) -> None:
    if not 0 < param.std < math.inf:
        raise FillerError(f"filler 'gaussian': std must be above 0, found {param.std}; "
                          "type 'constant' gives equal values")
    if param.sparse >= 0 and (not shape or param.sparse > shape[0]):
        raise FillerError(f"filler 'gaussian': sparse {param.sparse} is more than the first dimension of {shape}")


def _gaussian(shape, param) -> torch.Tensor:
    """Normally distributed numbers; with `sparse`, each is kept with probability sparse / shape[0], else set to 0."""
    values = _draw_gaussian(shape, param.mean, param.std)
    if param.sparse < 0:
        return values
    return values * _empty(shape).bernoulli_(param.sparse / shape[0], generator=device.generator())


def _check_axes(shape, param) -> None:
    if not shape:
        raise FillerError(f"filler '{param.type}': needs a blob of at least one axis")


def _positive_unitball(shape, param) -> torch.Tensor:
    """Uniform numbers in [0, 1), normalised to sum to 1 for each index of axis 0."""
    values = _draw_uniform(shape, 0.0, 1.0)
    rows = values.reshape(shape[0], -1)
    return (rows / rows.sum(dim=1, keepdim=True)).reshape(shape)


def _fan(shape: tuple[int, ...], param) -> float:
    """Number of inputs per output (FAN_IN), outputs per input (FAN_OUT), or their mean (AVERAGE)."""
    count = math.prod(shape)
    fan_in = count // shape[0]
    fan_out = count // shape[1] if len(shape) > 1 else count
    norm = param.VarianceNorm.Name(param.variance_norm)
    return {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}[norm]


def _xavier(shape, param) -> torch.Tensor:
    """Uniform within +-sqrt(3 / fan): variance 1 / fan (Glorot and Bengio 2010)."""
    bound = math.sqrt(3 / _fan(shape, param))
    return _draw_uniform(shape, -bound, bound)


def _msra(shape, param) -> torch.Tensor:
    """Normal with variance 2 / fan, for layers before a ReLU (He et al. 2015)."""
    return _draw_gaussian(shape, 0.0, math.sqrt(2 / _fan(shape, param)))


def _check_bilinear(shape, param) -> None:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise FillerError(f"filler 'bilinear': needs 4 axes and square kernels, found shape {shape}")


def _bilinear(shape, param) -> torch.Tensor:
    """Bilinear interpolation kernels for upsampling by Deconvolution: (1 - |x/f - c|)(1 - |y/f - c|).

    f = ceil(width / 2), c = (width - 1) / 2f.
    """
    factor = math.ceil(shape[3] / 2)
    center = (shape[3] - 1) / (2 * factor)
    line = 1 - (torch.arange(shape[3], dtype=torch.float64) / factor - center).abs()
    return _empty(shape).copy_(torch.outer(line, line).expand(shape))


def _check_fan(shape, param) -> None:
    if not shape:
        raise FillerError(f"filler '{param.type}': cannot tell inputs from outputs in a blob of shape {shape}")


_CHECKS: dict[str, Callable[..., None]] = {
    "uniform": _check_uniform, "gaussian": _check_gaussian, "positive_unitball": _check_axes, "xavier": _check_fan,
    "msra": _check_fan, "bilinear": _check_bilinear,
}
_FILLERS: dict[str, Callable[..., torch.Tensor]] = {
    "constant": _constant, "uniform": _uniform, "gaussian": _gaussian, "positive_unitball": _positive_unitball,
    "xavier": _xavier, "msra": _msra, "bilinear": _bilinear,
}
