"""The floor of a step's time: the work counted from the net's layers, over the measured rates of this machine."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from caffe.costs import backward_multiply_adds, backward_values_moved, multiply_adds, values_moved
from caffe.engine import device
from caffe.spans import Recorder

_VALUES_OF_UPDATE = 5       # per parameter: reads weight, gradient and history, writes weight and history


@dataclass(frozen=True)
class Work:
    """FLOPs; values read and written by layers; parameters updated by the solver."""

    flops: int
    values: int
    updated: int = 0

    def bytes(self, precision: str) -> int:
        """Bytes moved: layers' values in the precision's type, updates in float32."""
        return (2 if precision == "bfloat16" else 4) * self.values + 4 * _VALUES_OF_UPDATE * self.updated


def count_work(net: Any, step: Callable[[], object], updates: bool) -> Work:
    """The work of a step, summed over all calls of the layers' forward and backward."""
    counter = _Counter()
    for layer in net.engine_layers:
        counter.watch(layer)
    try:
        step()
    finally:
        for layer in net.engine_layers:
            del layer.forward, layer.backward       # restores the class's methods
    updated = sum(blob.count for blob, rate in zip(net.learnable_params, net.params_lr, strict=True) if rate)
    return Work(counter.flops, counter.values, updated if updates else 0)


class _Counter:
    """Counts the work of the layers that it watches."""

    def __init__(self) -> None:
        self.flops = self.values = 0

    def watch(self, layer: Any) -> None:
        """Wrap a layer's forward and backward to count their work."""
        forward, backward = layer.forward, layer.backward

        def counted_forward(bottom: Any, top: Any) -> None:
            forward(bottom, top)
            self.flops += 2 * multiply_adds(layer, bottom, top)
            self.values += values_moved(layer, bottom, top)

        def counted_backward(top: Any, propagate_down: Any, bottom: Any) -> None:
            backward(top, propagate_down, bottom)
            self.flops += 2 * backward_multiply_adds(layer, bottom, top, propagate_down)
            self.values += backward_values_moved(layer, bottom, top, propagate_down)

        layer.forward, layer.backward = counted_forward, counted_backward


def matrix_rate(precision: str, size: int = 8192, products: int = 20) -> float:
    """FLOP/s of a product of random square matrices, the fastest of several."""
    where = device.current_device()
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        a, b = (torch.randn(size, size, device=where).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        return 2 * size ** 3 / _fastest(lambda: torch.mm(a, b, out=out), products)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def copy_rate(values: int = 1 << 28, copies: int = 20) -> float:
    """Bytes/s, reads plus writes, of a copy on the device, the fastest of several."""
    source = torch.zeros(values, device=device.current_device())
    target = torch.empty_like(source)
    return 2 * 4 * values / _fastest(lambda: target.copy_(source), copies)


def _fastest(work: Callable[[], object], times: int) -> float:
    for _ in range(3):
        work()
    recorder = Recorder()
    for _ in range(times):
        with recorder.span("work"):
            work()
    return min(span.seconds for span in recorder.take())


def rates(precisions: Sequence[str], cpu: bool) -> dict[str, Any]:
    """The machine's name, its copy rate and, for each precision, its matrix rate."""
    small = {"size": 256, "products": 3} if cpu else {}
    name = "CPU" if cpu else torch.cuda.get_device_name(device.current_device())
    return {"machine": f"{name}, PyTorch {torch.__version__}",
            "copy": copy_rate(1 << 20, 3) if cpu else copy_rate(),
            "matrix": {precision: matrix_rate(precision, **small) for precision in precisions}}
