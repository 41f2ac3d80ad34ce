"""What a data set requires of a net: the number of classes and the anchors."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from utils.layer_params import ANCHOR_RATIOS, ANCHOR_SCALES

_MOST_CLASSES = (2**31 - 1) // 4        # bbox_pred has four outputs for each, and prototxts hold 32 bits


@dataclass(frozen=True)
class Task:
    """Number of classes with the background; the anchors' scales (times 16 pixels) and ratios height / width.

    Raises ValueError for fewer than two classes or more than a layer can have, and for scales or ratios that are
    missing, repeated or not positive.
    """

    num_classes: int
    scales: tuple[float, ...]
    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"{self.num_classes} classes: at least 2 are needed, background and one more")
        if self.num_classes > _MOST_CLASSES:
            raise ValueError(f"{self.num_classes} classes: a layer can have {_MOST_CLASSES} at most")
        for name, values in (("scales", self.scales), ("ratios", self.ratios)):
            if not values or not all(0 < value < math.inf for value in values) or len(set(values)) < len(values):
                raise ValueError(f"anchor {name} {as_words(values)}: expected different finite numbers above 0")
            # 8.0 is written as 8
            object.__setattr__(self, name, tuple(int(value) if value == int(value) else value for value in values))

    @property
    def num_anchors(self) -> int:
        """Anchors at each position of the feature map."""
        return len(self.scales) * len(self.ratios)

    @property
    def class_param(self) -> str:
        """`param_str` of the layers that need the number of classes."""
        return f"'num_classes': {self.num_classes}"

    @property
    def anchor_param(self) -> str:
        """`param_str` of the layers that lay out anchors; default scales and ratios are omitted."""
        lines = ["'feat_stride': 16"]
        if self.scales != ANCHOR_SCALES:
            lines.append(f"'scales': {list(self.scales)}")
        if self.ratios != ANCHOR_RATIOS:
            lines.append(f"'ratios': {list(self.ratios)}")
        return "\n".join(lines)

    @property
    def classes_text(self) -> str:
        """Remark beside the layers with the number of classes."""
        return f"{self.num_classes} classes with the background"

    @property
    def anchors_text(self) -> str:
        """Remark beside the layers that lay out anchors."""
        return f"{self.num_anchors} anchors: scales {as_words(self.scales)}, ratios {as_words(self.ratios)}"


def as_words(values: Sequence[float]) -> str:
    """(0.5, 1, 2) as '0.5 1 2', as on a command line."""
    return " ".join(f"{value:g}" for value in values)
