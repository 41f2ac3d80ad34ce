"""Samples the RoIs of an image to train on: foreground and background by their overlap with objects."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fast_rcnn.config import Config


@dataclass(frozen=True)
class RoISettings:
    """The rules of sampling; names and defaults are those of cfg.TRAIN."""

    batch_size: int = 128       # of all images together
    fg_fraction: float = 0.25
    fg_thresh: float = 0.5
    bg_thresh_hi: float = 0.5
    bg_thresh_lo: float = 0.1

    @classmethod
    def from_cfg(cls, train: Config) -> RoISettings:
        """The settings in cfg.TRAIN."""
        return cls(train.BATCH_SIZE, train.FG_FRACTION, train.FG_THRESH, train.BG_THRESH_HI,
                   train.BG_THRESH_LO)

    def most_foreground(self, total: int) -> int:
        """The maximum number of foreground RoIs among `total`."""
        return int(np.round(self.fg_fraction * total))


def is_usable(overlaps: np.ndarray, settings: RoISettings) -> bool:
    """Whether any overlap is >= fg_thresh or lies in [bg_thresh_lo, bg_thresh_hi)."""
    background = (overlaps >= settings.bg_thresh_lo) & (overlaps < settings.bg_thresh_hi)
    return bool(np.any(background | (overlaps >= settings.fg_thresh)))


def split_rois(overlaps: np.ndarray, settings: RoISettings) -> tuple[np.ndarray, np.ndarray]:
    """Indices of foreground (IoU >= fg_thresh) and background RoIs (IoU in [bg_thresh_lo, bg_thresh_hi)).

    With bg_thresh_hi > fg_thresh a RoI would be both; it counts as foreground only.
    """
    foreground = overlaps >= settings.fg_thresh
    background = (overlaps >= settings.bg_thresh_lo) & (overlaps < settings.bg_thresh_hi) & ~foreground
    return np.flatnonzero(foreground), np.flatnonzero(background)


def sample_rois(overlaps: np.ndarray, total: int, settings: RoISettings,
                rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random foreground (see `most_foreground`) and background indices, `total` in all or fewer."""
    foreground, background = split_rois(overlaps, settings)
    foreground = _draw(foreground, settings.most_foreground(total), rng)
    return foreground, _draw(background, total - len(foreground), rng)


def _draw(indices: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(indices) <= most:
        return indices
    return np.sort(rng.choice(indices, size=most, replace=False))
