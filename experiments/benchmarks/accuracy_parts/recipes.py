"""The recipes, peers, published results and goals of each data set; all hyperparameters are set here.

Iterations, sizes and settings were tuned with `accuracy.py --choose`, which never reads `test`; the anchors are those
that `tools/look_at_data.py` suggests for `trainval`.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

SQUEEZENET, VGG16 = "squeezenet_v1.1.caffemodel", "VGG16_convs.caffemodel"
BFLOAT16 = "_bfloat16"


@dataclass(frozen=True)
class Recipe:
    """The options of one training by tools/train_faster_rcnn_alt_opt.py. None: the net's own value.

    net         --net_name
    weights     file name in the folder of weights; None: random initialisation
    iterations  --max_iters of the four stages
    settings    --set; they override the file `cfg` in experiments/cfgs
    lr          --lr of the four stages; it drops to a tenth after three quarters of a stage
    others      --anchor_scales (in units of 16 pixels), --anchor_ratios, --fc6, --fc7
    """

    net: str
    weights: str | None
    iterations: tuple[int, int, int, int]
    settings: Mapping[str, Any]
    anchor_scales: tuple[float, ...] | None = None
    anchor_ratios: tuple[float, ...] | None = None
    fc6: int | None = None
    fc7: int | None = None
    lr: tuple[float, ...] | None = None
    cfg: str = "faster_rcnn_alt_opt.yml"

    def words(self, cfgs: str | os.PathLike, more: Mapping[str, Any] | None = None) -> list[str]:
        """The command line options, except --weights.

        cfgs  folder of the file `cfg`
        more  additional settings
        """
        options: dict[str, Sequence[Any] | None] = {
            "--net_name": [self.net], "--anchor_scales": self.anchor_scales, "--anchor_ratios": self.anchor_ratios,
            "--fc6": [self.fc6] if self.fc6 else None, "--fc7": [self.fc7] if self.fc7 else None,
            "--max_iters": self.iterations, "--lr": self.lr, "--cfg": [f"{cfgs}/{self.cfg}"],
            "--set": [word for pair in {**self.settings, **(more or {})}.items() for word in pair]}
        return [str(word) for option, values in options.items() if values for word in (option, *values)]


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
_PCB_RECIPES = {
    "SqueezeNet": Recipe("SqueezeNet", SQUEEZENET, (800, 2500, 600, 1500), {
        **image_size(1200, 1200), **proposals(8, 300)}, anchor_scales=(4, 6), anchor_ratios=(0.5, 1, 1.5),
        lr=_SQUEEZENET_RATES),
    "VGG16": Recipe("VGG16", VGG16, (1500, 1000, 1000, 1500), {**image_size(800, 800), **proposals(8, 300)},
                    anchor_scales=(2, 2.5, 3.5), anchor_ratios=(0.67, 1, 1.5), fc6=512, fc7=512),
}

# ---- voc2012_animals: photographs with a shorter side of 320 pixels (VGG16's convolutions 1-2 frozen, as published)
_ANIMALS_SIZE = (320, 600)
_ANIMALS = {**image_size(*_ANIMALS_SIZE), **proposals(8, 300)}
_ANIMALS_RECIPES = {
    "SqueezeNet": Recipe("SqueezeNet", SQUEEZENET, (1500, 3000, 1000, 1500), _ANIMALS,
                         anchor_scales=(2, 3.5, 6, 10, 14, 20), anchor_ratios=(0.67, 1.5), lr=_SQUEEZENET_RATES),
    "VGG16": Recipe("VGG16", VGG16, (1000, 2000, 600, 1000), _ANIMALS, anchor_scales=(2, 3.5, 6, 10, 14, 20),
                    anchor_ratios=(0.67, 1.5), fc6=512, fc7=512, lr=(0.002, 0.002, 0.002, 0.002)),
}
_IN_BFLOAT16 = ("--precision", "bfloat16")
_TORCHVISION = Peer("torchvision_peer.py", "VGG16", ("--size", *map(str, _ANIMALS_SIZE)), is_goal=True)

# ---- BCCD: photographs of 640 x 480 pixels, cells of 24 to 300 pixels
_BCCD_RECIPES = {
    "SqueezeNet": Recipe("SqueezeNet", SQUEEZENET, (800, 1500, 600, 1000),
                         {**image_size(600, 800), **proposals(8, 300)}, anchor_scales=(3, 4, 8, 12, 16),
                         anchor_ratios=(1,), lr=_SQUEEZENET_RATES),
}

DATA_SETS = {
    "DeepPCB": DataSet(
        {**_PCB_RECIPES, **in_bfloat16({"SqueezeNet": _PCB_RECIPES["SqueezeNet"]})},
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
               f"SSD300{BFLOAT16}": Peer("ssd300.py", f"VGG16{BFLOAT16}", _IN_BFLOAT16, 12_000)}),
    "BCCD": DataSet(
        _BCCD_RECIPES,
        is_shown=False,
        published=(("this toolkit, Tiny from random weights (`bccd.md`)", "0.638"),),
        goals=(Goal(0.80),)),
}
