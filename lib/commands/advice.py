"""Command lines that show the statistics of a data set, and that follow the advice for it."""
from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from checks.data import train_anchors
from checks.data_advice import DataFigures
from net_definitions import NETS
from net_definitions.task import as_words
from rpn.anchor_reach import AnchorLayout
from utils.errors import UserError

_LAYERS = re.compile(r"^\s*layers?\s*\{", re.MULTILINE)


@dataclass(frozen=True)
class TrainingOptions:
    """The command line options of a training that determine data and anchors."""

    imdb: str
    net_name: str | None = None     # of our nets
    models: str | None = None       # folder of other prototxts
    cfg_file: str | None = None
    pairs: Sequence[str] = ()       # of --set

    def words(self) -> list[str]:
        """The words of the command line."""
        given = (("--imdb", self.imdb), ("--net_name", self.net_name), ("--models", self.models),
                 ("--cfg", self.cfg_file))
        return [word for option, value in given if value for word in (option, value)] + (
            ["--set", *self.pairs] if self.pairs else [])


def look_command(options: TrainingOptions) -> str:
    """The command that shows the statistics for a training with these options."""
    return shlex.join(["python", "tools/look_at_data.py", *options.words()])


def anchors_in_words(layout: AnchorLayout) -> str:
    """'scales 8 16 32, ratios 0.5 1 2'."""
    return f"scales {as_words(layout.scales)}, ratios {as_words(layout.ratios)}"


def anchors_of_folder(folder: Path) -> tuple[AnchorLayout, Path]:
    """The anchors labelled by the training nets in a folder and its subfolders, and the first of these nets.

    Raises UserError if there is no such net, or anchors differ.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    found: dict[AnchorLayout, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".pt", ".prototxt", ".pbtxt")):
        if _LAYERS.search(path.read_text(encoding="utf-8", errors="replace")):
            layout = train_anchors(path)
            if layout:
                found.setdefault(layout, path)
    if not found:
        raise UserError(f"{folder}: holds no training net with a layer that labels anchors")
    if len(found) > 1:
        nets = "; ".join(f"{path}: {anchors_in_words(layout)}" for layout, path in found.items())
        raise UserError(f"{folder}: its nets have different anchors ({nets}); give the folder of one of them as "
                        "--models")
    return next(iter(found.items()))


def net_of_folder(folder: Path) -> str | None:
    """Name of our net in a folder, from the folder's name, a parent's, or that of its only subfolder named as a net."""
    above = [part for part in reversed(folder.resolve().parts) if part in NETS]
    inner = [name for name in NETS if (folder / name).is_dir()]
    return above[0] if above else inner[0] if len(inner) == 1 else None


def advice_commands(figures: DataFigures, num_classes: int, options: TrainingOptions, net: Path,
                    out: str) -> list[list[str]]:
    """The commands that follow the advice, as words: tools/make_models.py for other anchors, then the training.

    num_classes  with the background
    options      of the present training; without net_name the user must change the anchors in the nets
    net          a training net with the present anchors, beside its solver
    out          folder for nets with other anchors
    """
    changes = {key: "(" + "".join(f"{side}," for side in value) + ")" if isinstance(value, tuple) else str(value)
               for key, value in figures.settings.items()}
    kept = {key: value for key, value in zip(options.pairs[::2], options.pairs[1::2], strict=True)
            if key not in changes}
    options = replace(options, pairs=[word for pair in {**kept, **changes}.items() for word in pair])
    if figures.keeps_anchors or not options.net_name:
        return [_training(options, net)]
    layout = figures.advised.layout
    make = ["tools/make_models.py", "--net", options.net_name, "--classes", str(num_classes),
            "--scales", *as_words(layout.scales).split(), "--ratios", *as_words(layout.ratios).split(), "--out", out]
    return [make, _training(replace(options, models=out), net)]


def _training(options: TrainingOptions, net: Path) -> list[str]:
    """The training command: alternating optimisation if the net belongs to that, else train_net.py."""
    solvers = sorted(path.name for path in net.parent.glob("*solver*"))
    if len(solvers) != 1:
        return ["tools/train_faster_rcnn_alt_opt.py", *options.words()]
    made = options.models and options.net_name
    folder = Path(options.models or "", options.net_name or "", net.parent.name) if made else net.parent
    return ["tools/train_net.py", "--solver", str(folder / solvers[0]),
            *replace(options, net_name=None, models=None).words()]
