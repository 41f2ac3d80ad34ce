"""The conditions that the study compares, and the settings for known data sets."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from accuracy_parts.recipes import DATA_SETS
from fast_rcnn.config import Changes
from net_definitions import USUAL, Sizes

MISSING = 0.1           # share of the boxes removed from an incomplete data set
WARM_UP = 500           # iterations


@dataclass(frozen=True)
class Condition:
    """How Fast R-CNN is trained, and which conditions it is compared with.

    references  names of the conditions to compare with
    ohem        train on hard RoIs instead of random ones
    settings    settings that override the data set's
    rate        factor of the learning rate
    rule        name of a mining rule in mining_rules.py; None: that of OHEMDataLayer
    incomplete  train on the data set with boxes removed
    end_to_end  train RPN and Fast R-CNN in one net, instead of Fast R-CNN on fixed proposals
    """

    title: str
    references: tuple[str, ...] = ()
    ohem: bool = True
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    rate: float = 1.0
    rule: str | None = None
    incomplete: bool = False
    end_to_end: bool = False

    def words(self) -> str:
        """The condition's settings in words, for the report's table."""
        found = [f"{key.removeprefix('TRAIN.')} {value}" for key, value in self.settings.items()]
        found += [f"base_lr x {self.rate:g}"] if self.rate != 1 else []
        found += [f"rule {self.rule}"] if self.rule else []
        found += [f"{MISSING:.0%} of the boxes removed"] if self.incomplete else []
        found += ["end to end"] if self.end_to_end else []
        return ", ".join([f"USE_OHEM {self.ohem}", *found])


def _random(lowest_background: float) -> Changes:
    return {"TRAIN.FG_FRACTION": 0.25, "TRAIN.BG_THRESH_LO": lowest_background}


# OHEM as in alternating optimisation: 128 RoIs, background of any overlap (BG_THRESH_LO 0), no NMS
CONDITIONS = {
    "random": Condition("random RoIs", ohem=False, settings=_random(0.1)),
    "random_lo0": Condition("random RoIs, all background", ("random",), ohem=False, settings=_random(0.0)),
    "random_half": Condition("random RoIs, half the learning rate", ("random",), ohem=False, settings=_random(0.1),
                             rate=0.5),
    "random_lo0_half": Condition("random RoIs, all background, half the learning rate", ("random_lo0",), ohem=False,
                                 settings=_random(0.0), rate=0.5),
    "ohem": Condition("OHEM", ("random", "random_lo0")),
    "ohem_64": Condition("OHEM, batch of 64", ("ohem",), settings={"TRAIN.BATCH_SIZE": 64}),
    "ohem_256": Condition("OHEM, batch of 256", ("ohem",), settings={"TRAIN.BATCH_SIZE": 256}),
    "ohem_nms": Condition("OHEM, loss-NMS", ("ohem",), settings={"TRAIN.OHEM_USE_NMS": True}),
    "ohem_class": Condition("OHEM, ranked without the box loss", ("ohem",), rule="HardByClass"),
    "ohem_half": Condition("OHEM, half the learning rate",
                           ("ohem", "random", "random_lo0", "random_half", "random_lo0_half"), rate=0.5),
    "random_missing": Condition("random RoIs, boxes missing", ("random",), ohem=False, settings=_random(0.1),
                                incomplete=True),
    "ohem_missing": Condition("OHEM, boxes missing", ("ohem", "random_missing"), incomplete=True),
    "joint": Condition("end to end, random RoIs", ohem=False, end_to_end=True),
    "joint_ohem": Condition("end to end, OHEM", ("joint",), end_to_end=True),
    "joint_warm_up": Condition("end to end, OHEM after a warm-up", ("joint", "joint_ohem"), end_to_end=True,
                               settings={"TRAIN.OHEM_WARMUP": WARM_UP}),
    "joint_share": Condition("end to end, half OHEM, half random RoIs", ("joint", "joint_ohem"), end_to_end=True,
                             settings={"TRAIN.OHEM_RANDOM_SHARE": 0.5}),
}


@dataclass(frozen=True)
class Usual:
    """The defaults for a data set, which the command line overrides.

    settings  settings that override those of cfg
    sizes     anchors and layer widths of the net
    rates     initial learning rates of the RPN and of Fast R-CNN; None: the net's own
    """

    settings: Changes
    sizes: Sizes = USUAL
    rates: tuple[float, float] | None = None


def usual(data_set: str, net: str) -> Usual:
    """The recipe of the accuracy report; without one, the defaults of cfg and of the net."""
    recipe = DATA_SETS[data_set].recipes.get(net) if data_set in DATA_SETS else None
    if recipe is None:
        return Usual({})
    sizes = Sizes(recipe.anchor_scales, recipe.anchor_ratios, recipe.fc6, recipe.fc7)
    return Usual(dict(recipe.settings), sizes, (recipe.lr[0], recipe.lr[1]) if recipe.lr else None)


def comparisons(names: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs (condition, reference) among the named conditions."""
    chosen = list(names)
    return [(name, reference) for name in chosen for reference in CONDITIONS[name].references if reference in chosen]
