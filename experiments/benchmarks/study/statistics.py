"""Means over seeds, and paired differences with their 95 % confidence intervals."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, and half the width of its 95 % confidence interval (infinite for a single pair)."""

    mean: float
    half_width: float
    pairs: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return abs(self.mean) > self.half_width


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference:
    """Mean of values[seed] - reference[seed] over the common seeds: mean +- t(n - 1) s / sqrt(n), Student's t.

    Raises ValueError if they have no seed in common.
    """
    seeds = sorted(values.keys() & reference.keys())
    if not seeds:
        raise ValueError("no seed in common")
    found = np.array([values[seed] - reference[seed] for seed in seeds])
    if len(found) == 1:
        return Difference(float(found[0]), float("inf"), 1)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(found) - 1)
    return Difference(float(found.mean()), float(quantile * found.std(ddof=1) / np.sqrt(len(found))), len(found))


def deviation(values: Mapping[int, float]) -> float:
    """Standard deviation over the seeds; NaN for a single seed."""
    return float(np.std([*values.values()], ddof=1)) if len(values) > 1 else float("nan")
