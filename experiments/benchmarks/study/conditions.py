"""What the study compares: one line for each condition, and the settings for known data sets."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from accuracy_parts.recipes import DATA_SETS
from fast_rcnn.config import Changes
from net_definitions import USUAL, Sizes

MISSING = 0.1           # share of the boxes that an incomplete data set lacks
WARM_UP = 500           # iterations


@dataclass(frozen=True)
class Condition:
    """How the Fast R-CNN stage is trained, and with what that is compared.

    references  names of conditions
    ohem        hard RoIs, not random ones
    settings    changes of the data set's settings
    rate        factor of the learning rate
    rule        mining rule instead of OHEMDataLayer's, a class in mining_rules.py
    incomplete  trains on the data set that lacks boxes
    end_to_end  trains the RPN in the same net, not Fast R-CNN on proposals made before
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
        """Its settings, for a table."""
        found = [f"{key.removeprefix('TRAIN.')} {value}" for key, value in self.settings.items()]
        found += [f"base_lr x {self.rate:g}"] if self.rate != 1 else []
        found += [f"rule {self.rule}"] if self.rule else []
        found += [f"{MISSING:.0%} of the boxes removed"] if self.incomplete else []
        found += ["end to end"] if self.end_to_end else []
        return ", ".join([f"USE_OHEM {self.ohem}", *found])


def _random(lowest_background: float) -> Changes:
    return {"TRAIN.FG_FRACTION": 0.25, "TRAIN.BG_THRESH_LO": lowest_background}


# OHEM: 128 RoIs, all background (BG_THRESH_LO 0), no NMS, as in the Fast R-CNN steps of alternating optimisation
CONDITIONS = {
    "random": Condition("random RoIs", ohem=False, settings=_random(0.1)),
    "random_lo0": Condition("random RoIs, all background", ("random",), ohem=False, settings=_random(0.0)),
    "ohem": Condition("OHEM", ("random", "random_lo0")),
    "ohem_64": Condition("OHEM, batch of 64", ("ohem",), settings={"TRAIN.BATCH_SIZE": 64}),
    "ohem_256": Condition("OHEM, batch of 256", ("ohem",), settings={"TRAIN.BATCH_SIZE": 256}),
    "ohem_nms": Condition("OHEM, loss-NMS", ("ohem",), settings={"TRAIN.OHEM_USE_NMS": True}),
    "ohem_class": Condition("OHEM, ranked without the box loss", ("ohem",), rule="HardByClass"),
    "ohem_half": Condition("OHEM, half the learning rate", ("ohem", "random"), rate=0.5),
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
    """What is used for a data set unless the command line says otherwise.

    settings  changes of the defaults
    sizes     of the net
    rates     first learning rates of the RPN and of Fast R-CNN; None: the net's own
    """

    settings: Changes
    sizes: Sizes = USUAL
    rates: tuple[float, float] | None = None


def usual(data_set: str, net: str) -> Usual:
    """As in the accuracy report; for what is not in it, the defaults of cfg and of the net."""
    recipe = DATA_SETS[data_set].recipes.get(net) if data_set in DATA_SETS else None
    if recipe is None:
        return Usual({})
    sizes = Sizes(recipe.anchor_scales, recipe.anchor_ratios, recipe.fc6, recipe.fc7)
    return Usual(dict(recipe.settings), sizes, (recipe.lr[0], recipe.lr[1]) if recipe.lr else None)


def comparisons(names: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs (condition, reference) among conditions of these names."""
    chosen = list(names)
    return [(name, reference) for name in chosen for reference in CONDITIONS[name].references if reference in chosen]
