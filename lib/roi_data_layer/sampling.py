"""Samples the RoIs of an image to train on: foreground and background by their overlap with objects."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.ds_utils import covered_shares
from fast_rcnn.config import ALL_ROIS, Config


@dataclass(frozen=True)
class RoISettings:
    """The rules of sampling; names and defaults are those of cfg.TRAIN."""

    batch_size: int = 128       # of all images together, or ALL_ROIS
    fg_fraction: float = 0.25
    fg_thresh: float = 0.5
    bg_thresh_hi: float = 0.5
    bg_thresh_lo: float = 0.1
    ignored_overlap: float = 0.0    # see `on_ignored`; 0: ignored boxes count as background

    @classmethod
    def from_cfg(cls, train: Config) -> RoISettings:
        """The settings in cfg.TRAIN."""
        return cls(train.BATCH_SIZE, train.FG_FRACTION, train.FG_THRESH, train.BG_THRESH_HI,
                   train.BG_THRESH_LO, train.IGNORED_OVERLAP)

    def most_foreground(self, total: int) -> int:
        """The maximum number of foreground RoIs among `total`."""
        return int(np.round(self.fg_fraction * total))


def on_ignored(boxes: np.ndarray, ignored: np.ndarray | None, least: float) -> np.ndarray | None:
    """Whether a share of at least `least` of each box (N, 4) lies in one ignored box (M, 4): (N,) bool.

    None if there are no ignored boxes, or `least` is 0. The share is of the box, not of the union as in IoU, because a
    crowd contains many boxes.
    """
    if ignored is None or not len(ignored) or least <= 0:
        return None
    return covered_shares(boxes, ignored) >= least


def is_usable(overlaps: np.ndarray, settings: RoISettings, ignored: np.ndarray | None = None) -> bool:
    """Whether any RoI is foreground or background, see `split_rois`."""
    return any(map(len, split_rois(overlaps, settings, ignored)))


def split_rois(overlaps: np.ndarray, settings: RoISettings,
               ignored: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Indices of foreground (IoU >= fg_thresh) and background RoIs (IoU in [bg_thresh_lo, bg_thresh_hi)).

    With bg_thresh_hi > fg_thresh a RoI would be both; it counts as foreground only.

    ignored  (N,) bool, RoIs that are not background, see `on_ignored`
    """
    foreground = overlaps >= settings.fg_thresh
    background = (overlaps >= settings.bg_thresh_lo) & (overlaps < settings.bg_thresh_hi) & ~foreground
    if ignored is not None:
        background &= ~ignored
    return np.flatnonzero(foreground), np.flatnonzero(background)


def sample_rois(overlaps: np.ndarray, total: int, settings: RoISettings, rng: np.random.Generator,
                ignored: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draw at most `total` indices of foreground (see `most_foreground`) and background RoIs; see `split_rois`.

    If the batch size is ALL_ROIS, all indices are returned.
    """
    foreground, background = split_rois(overlaps, settings, ignored)
    if settings.batch_size == ALL_ROIS:
        return foreground, background
    foreground = _draw(foreground, settings.most_foreground(total), rng)
    return foreground, _draw(background, total - len(foreground), rng)


def _draw(indices: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(indices) <= most:
        return indices
    return np.sort(rng.choice(indices, size=most, replace=False))
