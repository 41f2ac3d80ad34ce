"""The images of each minibatch: a function of (seed, iteration), so that training can resume anywhere.

An epoch visits every image once. If the number of images is not a multiple of the batch size, the last batch is filled
up with images from the start of the same epoch's order; py-faster-rcnn drops that batch.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np


def epoch_batches(count: int, per_batch: int, rng: np.random.Generator,
                  wide: np.ndarray | None = None) -> np.ndarray:
    """Random batches of one epoch, (ceil(count / per_batch), per_batch) image indices.

    wide  (count,) bool: if given, batches hold only wide or only tall images, which reduces padding; only those formed
          from the remainders of both are mixed
    """
    order = rng.permutation(count)
    groups = [order] if wide is None else [order[wide[order]], order[~wide[order]]]
    whole = [group[:len(group) - len(group) % per_batch] for group in groups]
    rest = [group[len(group) - len(group) % per_batch:] for group in groups]
    batches = np.resize(np.concatenate(whole + rest), (-(-count // per_batch), per_batch))
    return rng.permutation(batches, axis=0)


class BatchOrder:
    """Image indices of any minibatch, over an unlimited number of epochs.

    count      number of images
    per_batch  images per minibatch
    seed       cfg.RNG_SEED
    wide       (count,) bool to group images by aspect ratio, see `epoch_batches`
    """

    def __init__(self, count: int, per_batch: int, seed: int, wide: np.ndarray | None = None):
        if count < 1:
            raise ValueError("the roidb is empty: no image has a RoI that can be trained on")
        self.count, self.per_batch, self.seed, self.wide = count, per_batch, seed, wide
        self.batches_per_epoch = -(-count // per_batch)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)    # prefetching threads may be in two epochs

    def _make_epoch(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 0, epoch])
        return epoch_batches(self.count, self.per_batch, rng, self.wide)

    def __getitem__(self, iteration: int) -> np.ndarray:
        """(per_batch,) indices of minibatch `iteration`, counted from 0."""
        epoch, row = divmod(iteration, self.batches_per_epoch)
        return self._epoch(epoch)[row]
