"""The recipes, peers, published results and goals of each data set; all hyperparameters are set here.

Iterations, sizes and settings were tuned with `accuracy.py --choose`, which never reads `test`; the anchors are those
that `tools/look_at_data.py` suggests for `trainval`. End-to-end recipes have the anchors, sizes and settings of the
four stages and see as many images, or fewer if their names contain SHORT; of these, only the short ones were tuned.
VGG16's short one also has smaller images and anchors for these: a machine without bfloat16 instructions needs 1.5 hours
for the 1,600 images of its peer. It trains on random RoIs, as many as its peer.
"""
from __future__ import annotations

import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alt_opt.plan import STEPS
from alt_opt.settings import step_settings
from fast_rcnn.config import Config, file_changes, make_settings, pair_changes
from net_definitions import NETS

SQUEEZENET, VGG16 = "squeezenet_v1.1.caffemodel", "VGG16_convs.caffemodel"
SHORT, BFLOAT16 = "_short", "_bfloat16"
ROOT = Path(__file__).resolve().parents[3]
CFGS = ROOT / "experiments" / "cfgs"


@dataclass(frozen=True)
class Recipe(ABC):
    """The options of one training by the tools. None: the net's own value.

    net         --net_name
    weights     file name in the folder of weights; None: random initialisation
    iterations  of each stage
    settings    --set; they override the file `cfg` in experiments/cfgs
    lr          --lr of each stage; it drops to a tenth after three quarters of a stage
    others      --anchor_scales (in units of 16 pixels), --anchor_ratios, --fc6, --fc7
    """

    net: str
    weights: str | None
    iterations: tuple[int, ...]
    settings: Mapping[str, Any]
    anchor_scales: tuple[float, ...] | None = None
    anchor_ratios: tuple[float, ...] | None = None
    fc6: int | None = None
    fc7: int | None = None
    lr: tuple[float, ...] | None = None
    cfg: str = "faster_rcnn_alt_opt.yml"

    @abstractmethod
    def words(self, cfgs: str | os.PathLike) -> str:
        """The options of the tools, except those of data, weights and output, for the report.

        cfgs  folder of the file `cfg`
        """

    @abstractmethod
    def step_settings(self, seed: int) -> dict[str, Config]:
        """The settings of each step."""

    @abstractmethod
    def images_seen(self) -> list[int]:
        """The number of images that each stage is trained on."""

    def sizes(self) -> list[str]:
        """Options of tools/make_models.py and of the driver: anchors and outputs of fc6 and fc7."""
        return options({"--anchor_scales": self.anchor_scales, "--anchor_ratios": self.anchor_ratios,
                        "--fc6": [self.fc6] if self.fc6 else None, "--fc7": [self.fc7] if self.fc7 else None})

    def training(self, cfgs: str | os.PathLike, more: Mapping[str, Any] | None = None) -> list[str]:
        """Options of the tool that trains: learning rates and settings.

        more  additional settings
        """
        return options({"--lr": self.lr, "--cfg": [f"{cfgs}/{self.cfg}"],
                        "--set": _pairs({**self.settings, **(more or {})})})

    def _changes(self) -> dict[str, Any]:
        return {**file_changes(CFGS / self.cfg), **pair_changes(_pairs(self.settings))}


class AlternatingRecipe(Recipe):
    """Four stages, by tools/train_faster_rcnn_alt_opt.py."""

    def words(self, cfgs: str | os.PathLike) -> str:
        """See Recipe."""
        return f"`{shlex.join(self.driver_words(cfgs))}`"

    def driver_words(self, cfgs: str | os.PathLike, more: Mapping[str, Any] | None = None) -> list[str]:
        """Options of the driver; see `training`."""
        return [*options({"--net_name": [self.net]}), *self.sizes(), *options({"--max_iters": self.iterations}),
                *self.training(cfgs, more)]

    def step_settings(self, seed: int) -> dict[str, Config]:
        """See Recipe."""
        changes = self._changes()
        return step_settings(changes, changes.get("TRAIN.USE_OHEM", True), seed)

    def images_seen(self) -> list[int]:
        """See Recipe."""
        settings = self.step_settings(0)
        steps = [step.name for step in STEPS if step.trains]
        return [count * settings[step].TRAIN.IMS_PER_BATCH
                for step, count in zip(steps, self.iterations, strict=True)]


@dataclass(frozen=True)
class EndToEndRecipe(Recipe):
    """One stage, by tools/train_net.py: RPN and Fast R-CNN in one net.

    ohem  whether with hard example mining
    """

    cfg: str = "faster_rcnn_end2end_ohem.yml"
    ohem: bool = True

    def words(self, cfgs: str | os.PathLike) -> str:
        """See Recipe."""
        nets = shlex.join(["make_models.py", *options({"--net": [self.net]}), *self.sizes()])
        training = shlex.join([*options({"--iters": self.iterations}), *self.training(cfgs)])
        return f"end to end, `{nets}`, then `train_net.py {training}`"

    def step_settings(self, seed: int) -> dict[str, Config]:
        """See Recipe."""
        return {"end_to_end": make_settings({**self._changes(), "RNG_SEED": seed})}

    def images_seen(self) -> list[int]:
        """See Recipe."""
        [settings], [iterations] = self.step_settings(0).values(), self.iterations
        return [iterations * NETS[self.net].end2end.iter_size * settings.TRAIN.IMS_PER_BATCH]


def _pairs(settings: Mapping[str, Any]) -> list[str]:
    """The words of --set."""
    return [str(word) for pair in settings.items() for word in pair]


def options(values: Mapping[str, Iterable[Any] | None]) -> list[str]:
    """Command line words of options and their values; options without values are left out."""
    return [str(word) for option, found in values.items() if found for word in (option, *found)]


@dataclass(frozen=True)
class Peer:
    """Another detector, trained by a program next to this file.

    like     name of the recipe whose initial weights it uses
    options  additional options of the program
    images   number of images it is trained on; None: as many as the recipe in its four stages
    is_goal  whether our goal is to reach its AP50 in half of its time
    """

    program: str
    like: str
    options: tuple[str, ...] = ()
    images: int | None = None
    is_goal: bool = False

    @property
    def needs_torchvision(self) -> bool:
        """Whether the package torchvision must be installed."""
        return self.program.startswith("torchvision")


@dataclass(frozen=True)
class Goal:
    """A mean AP50 over the seeds for the best net to reach within `minutes` of training (None: no limit)."""

    ap50: float
    minutes: float | None = None


@dataclass(frozen=True)
class DataSet:
    """A data set in VOC layout with the splits `trainval` and `test`.

    recipes    by name, as used in tables and by --nets
    is_shown   whether the report may show its photographs
    peers      other detectors, by name
    published  (source, mAP at IoU 0.5) on the same test split
    """

    recipes: Mapping[str, Recipe]
    is_shown: bool
    peers: Mapping[str, Peer] = field(default_factory=dict)
    published: tuple[tuple[str, str], ...] = ()
    goals: tuple[Goal, ...] = ()

    @property
    def nets(self) -> list[str]:
        """Names of all recipes and peers."""
        return [*self.recipes, *self.peers]


def in_bfloat16(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """The same recipes in bfloat16, with BFLOAT16 appended to their names."""
    return {name + BFLOAT16: replace(recipe, settings={**recipe.settings, "PRECISION": "bfloat16"})
            for name, recipe in recipes.items()}


def image_size(shorter: int, longer: int) -> dict[str, Any]:
    """Settings for the images' shorter side and the limit of the longer one, in pixels."""
    return {f"{phase}.{key}": value for phase in ("TRAIN", "TEST")
            for key, value in (("SCALES", [shorter]), ("MAX_SIZE", longer))}


def proposals(smallest: int, training: int) -> dict[str, Any]:
    """Settings for proposals: the minimum side, in pixels of the original image, and the number kept in training."""
    return {"TRAIN.RPN_MIN_SIZE": smallest, "TEST.RPN_MIN_SIZE": smallest, "TRAIN.RPN_PRE_NMS_TOP_N": 6000,
            "TRAIN.RPN_POST_NMS_TOP_N": training}


_SQUEEZENET_RATES = (0.004, 0.002, 0.004, 0.002)

# ---- DeepPCB: binarised boards of 640 x 640 pixels, defects of 20 to 60 pixels
_PCB = {**image_size(1200, 1200), **proposals(8, 300)}
_PCB_ANCHORS = (4, 6), (0.5, 1, 1.5)
_PCB_END2END = EndToEndRecipe("SqueezeNet", SQUEEZENET, (4700,), _PCB, *_PCB_ANCHORS, lr=(0.004,))
_PCB_SQUEEZENETS: dict[str, Recipe] = {
    "SqueezeNet": AlternatingRecipe("SqueezeNet", SQUEEZENET, (800, 2500, 600, 1500), _PCB, *_PCB_ANCHORS,
                                    lr=_SQUEEZENET_RATES),
    "SqueezeNet_end2end": _PCB_END2END,
    f"SqueezeNet_end2end{SHORT}": replace(_PCB_END2END, iterations=(2200,)),
}
_PCB_RECIPES: dict[str, Recipe] = {
    **_PCB_SQUEEZENETS,
    "VGG16": AlternatingRecipe("VGG16", VGG16, (1500, 1000, 1000, 1500), {
        **image_size(800, 800), **proposals(8, 300)}, anchor_scales=(2, 2.5, 3.5), anchor_ratios=(0.67, 1, 1.5),
        fc6=512, fc7=512),
}

# ---- voc2012_animals: photographs with a shorter side of 320 pixels (VGG16's convolutions 1-2 frozen, as published)
_ANIMALS_SIZE, _ANIMALS_SMALL = (320, 600), (256, 480)
_ANIMALS = {**image_size(*_ANIMALS_SIZE), **proposals(8, 300)}
_ANIMALS_ANCHORS = (2, 3.5, 6, 10, 14, 20), (0.67, 1.5)
_ANIMALS_RECIPES: dict[str, Recipe] = {
    "SqueezeNet": AlternatingRecipe("SqueezeNet", SQUEEZENET, (1500, 3000, 1000, 1500), _ANIMALS, *_ANIMALS_ANCHORS,
                                    lr=_SQUEEZENET_RATES),
    "SqueezeNet_end2end": EndToEndRecipe("SqueezeNet", SQUEEZENET, (5750,), _ANIMALS, *_ANIMALS_ANCHORS, lr=(0.002,)),
    "VGG16": AlternatingRecipe("VGG16", VGG16, (1000, 2000, 600, 1000), _ANIMALS, *_ANIMALS_ANCHORS, fc6=512, fc7=512,
                               lr=(0.002, 0.002, 0.002, 0.002)),
    "VGG16_end2end": EndToEndRecipe("VGG16", VGG16, (3800,), _ANIMALS, *_ANIMALS_ANCHORS, fc6=512, fc7=512,
                                    lr=(0.002,)),
    f"VGG16_end2end{SHORT}": EndToEndRecipe("VGG16", VGG16, (800,), {
        **image_size(*_ANIMALS_SMALL), **proposals(8, 2000), "TRAIN.BATCH_SIZE": 512, "TRAIN.WARMUP_ITERS": 100},
        (2, 3.5, 5, 8, 12, 16), (0.67, 1.5), fc6=512, fc7=512, lr=(0.0025,), cfg="faster_rcnn_end2end.yml", ohem=False),
}
_IN_BFLOAT16 = ("--precision", "bfloat16")
_TORCHVISION = Peer("torchvision_peer.py", "VGG16", ("--size", *map(str, _ANIMALS_SIZE)), is_goal=True)

# ---- BCCD: photographs of 640 x 480 pixels, cells of 24 to 300 pixels
_BCCD_RECIPES = {
    "SqueezeNet": AlternatingRecipe("SqueezeNet", SQUEEZENET, (800, 1500, 600, 1000), {
        **image_size(600, 800), **proposals(8, 300)}, anchor_scales=(3, 4, 8, 12, 16), anchor_ratios=(1,),
        lr=_SQUEEZENET_RATES),
}

DATA_SETS = {
    "DeepPCB": DataSet(
        {**_PCB_RECIPES, **in_bfloat16(_PCB_SQUEEZENETS)},
        is_shown=True,
        published=(("Faster R-CNN, ResNet-101", "0.977"), ("other Faster R-CNN", "0.926 to 0.969"),
                   ("YOLOv11", "0.964")),
        goals=(Goal(0.977, 180), Goal(0.95, 30))),
    "voc2012_animals": DataSet(
        {**_ANIMALS_RECIPES, **in_bfloat16(_ANIMALS_RECIPES)},
        is_shown=False,
        peers={"torchvision_VGG16": _TORCHVISION,
               f"torchvision_VGG16{BFLOAT16}": replace(_TORCHVISION, like=f"VGG16{BFLOAT16}",
                                                       options=(*_TORCHVISION.options, *_IN_BFLOAT16)),
               f"torchvision_VGG16{SHORT}": replace(_TORCHVISION, like=f"VGG16_end2end{SHORT}",
                                                    options=("--size", *map(str, _ANIMALS_SMALL))),
               f"SSD300{BFLOAT16}": Peer("ssd300.py", f"VGG16{BFLOAT16}", _IN_BFLOAT16, 12_000)}),
    "BCCD": DataSet(
        _BCCD_RECIPES,
        is_shown=False,
        published=(("this toolkit, Tiny from random weights (`bccd.md`)", "0.638"),),
        goals=(Goal(0.80),)),
}
