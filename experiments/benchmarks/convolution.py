#!/usr/bin/env python3
"""Our Winograd convolutions (3 x 3 kernels) compared with PyTorch's convolutions, at VGG16's sizes.

    python experiments/benchmarks/convolution.py [--report] [--size 600 800]

Both sides take turns on the same arrays (channels_last; the float32 weights may change between calls, so preparing
them is timed too). Prints milliseconds of the forward pass and of the gradients of bottom and weights, the ratios, and
the errors of both sides against float64. `--report` writes convolution.md next to this program.
"""
from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "tools"), str(HERE)]
import torch  # noqa: E402
from cpu import processor  # noqa: E402

import _init_paths  # noqa: E402, F401
from caffe.kernels import winograd  # noqa: E402
from measuring import add_report_option, publish, seconds  # noqa: E402

# name, input channels, output channels, stride relative to the image
LAYERS = (("conv1_2", 64, 64, 1), ("conv2_1", 64, 128, 2), ("conv2_2", 128, 128, 2), ("conv3_1", 128, 256, 4),
          ("conv3_2", 256, 256, 4), ("conv4_1", 256, 512, 8), ("conv4_2", 512, 512, 8), ("conv5_1", 512, 512, 16))
PASSES = ("forward", "bottom", "weights")
LARGEST_CHECKED = 96        # side, in pixels, of the crop compared with float64, which is slow
REPEATS = 5


@dataclass
class Arrays:
    """Bottom, weights and top gradient of a convolution with pad 1."""

    x: torch.Tensor
    weight: torch.Tensor
    dy: torch.Tensor

    @classmethod
    def random(cls, channels: int, outputs: int, height: int, width: int, dtype: torch.dtype) -> Arrays:
        """Random values like those inside a net: zeros in the bottom as after a ReLU, top values near 1."""
        torch.manual_seed(0)
        last: dict[str, Any] = {"dtype": dtype, "memory_format": torch.channels_last}
        return cls(torch.randn(1, channels, height, width).relu().to(**last),
                   torch.randn(outputs, channels, 3, 3) / (3 * channels ** 0.5),
                   torch.randn(1, outputs, height, width).to(**last))

    def ours(self, name: str) -> torch.Tensor:
        """Run one pass with our Winograd kernels."""
        if name == "forward":
            return winograd.convolve(self.x, self.weight, None, 1)
        if name == "bottom":
            return winograd.input_gradient(self.dy, self.weight, 1)
        return winograd.weight_gradient(self.x, self.dy, 1)

    def direct(self, name: str) -> torch.Tensor:
        """Run one pass with PyTorch."""
        weight = self.weight.to(dtype=self.x.dtype, memory_format=torch.channels_last)
        geometry = ((1, 1), (1, 1), (1, 1), False, (0, 0), 1)
        if name == "forward":
            return torch.convolution(self.x, weight, None, *geometry)
        wanted = [name == "bottom", name == "weights", False]
        found = torch.ops.aten.convolution_backward(self.dy, self.x, weight, None, *geometry, wanted)
        return found[PASSES.index(name) - 1]

    def cropped(self) -> Arrays:
        """The upper left corner, for measuring errors."""
        part = slice(None), slice(None), slice(LARGEST_CHECKED), slice(LARGEST_CHECKED)
        last = {"memory_format": torch.channels_last}
        return Arrays(self.x[part].contiguous(**last), self.weight, self.dy[part].contiguous(**last))


def errors(arrays: Arrays, name: str) -> list[float]:
    """Relative root mean square errors of ours and of PyTorch."""
    exact = Arrays(arrays.x.double(), arrays.weight.double(), arrays.dy.double()).direct(name)
    return [((found.double() - exact).square().mean() / exact.square().mean()).sqrt().item()
            for found in (arrays.ours(name), arrays.direct(name))]


def table(dtype: torch.dtype, size: tuple[int, int]) -> list[str]:
    """The lines of a Markdown table."""
    lines = ["| layer | " + " | ".join(f"{name}: PyTorch, ours, ratio | errors" for name in PASSES) + " |",
             "|---" * (2 * len(PASSES) + 1) + "|"]
    totals = {name: [0.0, 0.0] for name in PASSES}
    for layer, channels, outputs, stride in LAYERS:
        arrays = Arrays.random(channels, outputs, size[0] // stride, size[1] // stride, dtype)
        cells = [layer]
        for name in PASSES:
            times = seconds(REPEATS, lambda: arrays.direct(name), lambda: arrays.ours(name))     # noqa: B023
            totals[name] = [total + time for total, time in zip(totals[name], times, strict=True)]
            cells += [_compared(*times), "{1:.0e}, {0:.0e}".format(*errors(arrays.cropped(), name))]
        lines.append(f"| {' | '.join(cells)} |")
    cells = [cell for name in PASSES for cell in (_compared(*totals[name]), "")]
    return [*lines, f"| **all** | {' | '.join(cells)} |"]


def _compared(direct: float, ours: float) -> str:
    return f"{1e3 * direct:.1f}, {1e3 * ours:.1f}, {direct / ours:.2f}"


def report(size: tuple[int, int]) -> str:
    """The report as Markdown."""
    lines = [f"# 3 x 3 convolutions of VGG16 at {size[0]} x {size[1]}, Winograd and direct convolution", "",
             f"{processor()}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}. Milliseconds, and the "
             "ratio of PyTorch's to ours; errors are relative root mean square errors against float64, in the same "
             "order."]
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        has_vectors = winograd.suits(torch.zeros(1, 32, 16, 16, dtype=dtype), torch.zeros(32, 32, 3, 3), 1)
        lines += ["", f"## {name}", ""]
        lines += table(dtype, size) if has_vectors else ["This processor has no vectors for this type."]
    command = "python experiments/benchmarks/convolution.py --report"
    return "\n".join([*lines, "", "Command:", "", "```sh", command, "```", ""])


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=[600, 800], metavar=("HEIGHT", "WIDTH"),
                        help="of the image, in pixels (default: 600 800)")
    add_report_option(parser, HERE / "convolution.md")
    options = parser.parse_args(argv)
    if min(options.size) < 128:
        parser.error(f"--size {options.size[0]} {options.size[1]}: at least 128 pixels; conv5 has a stride of 16")
    text = report(tuple(options.size))
    publish(text, options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
