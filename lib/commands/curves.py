"""Plots a training, also while it runs: loss curves as a PNG, and TensorBoard."""
from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fast_rcnn.hooks import Hook, Training
from fast_rcnn.train_log import TrainLog, loss_curves, read_log
from utils import parallel
from utils.errors import UserError
from utils.files import atomic_path

LOSS_CURVES = "losses.png"      # in the output folder of a run


def plot_losses(logs: Sequence[str | os.PathLike], path: str | os.PathLike) -> None:
    """Plot the losses in training logs to a PNG, one panel per stage. Raises ValueError if they have no records."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import; needs no display
    from matplotlib.figure import Figure
    records = [record for log in logs for record in read_log(log)]
    stages = list(dict.fromkeys(record["stage"] for record in records))
    if not stages:
        raise ValueError(f"no records in {', '.join(str(Path(log)) for log in logs) or 'no files'}")
    figure = Figure(figsize=(5 * len(stages), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
        for name, points in loss_curves(record for record in records if record["stage"] == stage).items():
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
        axes.set(title=stage, xlabel="iteration", ylabel="loss")
        axes.set_ylim(bottom=0)
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


class PlotHook(Hook):
    """Plots the losses of a run's stages to a PNG, at most once every `seconds`.

    logs  JSON lines of the stages, in order; files that do not exist yet are skipped
    """

    def __init__(self, logs: Sequence[Path], picture: Path, log: TrainLog, seconds: float = 60.0) -> None:
        self._logs, self._picture, self._log, self._seconds = logs, picture, log, seconds

    def at_start(self, training: Training) -> None:
        self._last = time.perf_counter()

    def after_iteration(self, training: Training) -> None:
        start = time.perf_counter()
        if start - self._last < self._seconds or not parallel.is_first():
            return
        try:
            plot_losses([path for path in self._logs if path.exists()], self._picture)
        except (OSError, ValueError) as error:      # full disk, or no line yet: the next attempt may work
            self._log.say(f"{self._picture.name} is not drawn: {error}")
        self._last = time.perf_counter()
        self._log.leave_out(self._last - start)


def check_tensorboard() -> None:
    """Raise UserError if the package that writes TensorBoard's files is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError:
        raise UserError("--tensorboard: the package tensorboard is missing; pip install tensorboard") from None


class TensorBoard:
    """`Listener` of a log that writes a stage's scalars and images to a folder for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, iteration: int) -> None:
        """Start a file; later iterations, written by a run that was stopped, are hidden."""
        from torch.utils.tensorboard import SummaryWriter
        self._writer = SummaryWriter(str(self._folder), purge_step=iteration + 1)

    def report(self, record: Mapping[str, Any]) -> None:
        """Write losses, learning rate, times and the layers' statistics."""
        values = {"loss/sum": record["loss"], "lr": record["lr"], "seconds per iteration": record["seconds"],
                  **{f"loss/{name}": value for name, value in record["losses"].items()},
                  **{f"{layer}/{name}": value for layer, stats in record["stats"].items()
                     for name, value in stats.items()}}
        self._add(values, record["iteration"])

    def validation(self, iteration: int, figures: Mapping[str, float], pictures: Sequence[np.ndarray]) -> None:
        """Write the metrics and images of a validation."""
        for number, picture in enumerate(pictures):
            self._writer.add_image(f"detections/{number}", picture[:, :, ::-1].copy(), iteration, dataformats="HWC")
        self._add({f"validation/{name}": value for name, value in figures.items()}, iteration)

    def _add(self, values: Mapping[str, float], iteration: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)
        self._writer.flush()
