"""Connectionist temporal classification by enumerating all paths."""
import itertools
import math

import numpy as np


def labels_of(path, blank, merge=True):
    """The labels of a path: repetitions merged, then blanks dropped."""
    kept = [value for place, value in enumerate(path) if not (merge and place and path[place - 1] == value)]
    return [int(value) for value in kept if value != blank]


def loss_of(scores, labels, blank):
    """-log of the probability of all paths with these labels, 0 if there is none; scores (T, C)."""
    exponents = np.exp(scores - scores.max(1, keepdims=True))
    probabilities, total = exponents / exponents.sum(1, keepdims=True), 0.0
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        if labels_of(path, blank) == list(labels):
            total += math.prod(probabilities[time, value] for time, value in enumerate(path))
    return -math.log(total) if total else 0.0


def difference_quotients(function, array, step=1e-5):
    """Central differences of a function of an array."""
    found = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        kept, values = array[place], []
        for value in (kept + step, kept - step):
            array[place] = value
            values.append(function(array))
        array[place] = kept
        found[place] = (values[0] - values[1]) / (2 * step)
    return found
