"""`caffe.Net`: the engine's net with pycaffe's methods for any number of items."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from .engine.blob import Blob
from .engine.net import Net as _EngineNet
from .engine.solvers import Solver

Arrays = dict[str, np.ndarray]


class Net(_EngineNet):
    __doc__ = _EngineNet.__doc__

    def forward_all(self, blobs: Sequence[str] | None = None, **inputs: np.ndarray) -> Arrays:
        """Run the net over any number of items, in batches of the net's batch size.

        blobs    names of blobs to return in addition to the outputs
        inputs   arrays for all inputs of the net, each (N, ...), by name
        Returns  {name: array} of the outputs and of `blobs`, with N times as many rows as they have for one item.
        Raises ValueError without inputs, and for different numbers of items.
        """
        _check_lengths("forward_all", inputs)
        collected: dict[str, list] = {name: [] for name in [*self.outputs, *(blobs or ())]}
        for batch in self._batch(inputs):
            _collect(collected, self.forward(blobs=blobs, **batch))
        return _join(collected, _padding(self._batch_size, inputs), self._batch_size)

    def forward_backward_all(self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None,
                             **arrays: np.ndarray) -> tuple[Arrays, Arrays]:
        """Run the net forward and backward over any number of items, in batches.

        blobs    names of blobs to return in addition to the outputs
        diffs    names of blobs whose gradients to return in addition to those of the inputs
        arrays   values of inputs and gradients of outputs, by name
        Returns  {name: values}, {name: gradients}
        Raises ValueError without arrays, for names of other blobs, and for different numbers of items.
        """
        _check_lengths("forward_backward_all", arrays)
        values: dict[str, list] = {name: [] for name in [*self.outputs, *(blobs or ())]}
        gradients: dict[str, list] = {name: [] for name in [*self.inputs, *(diffs or ())]}
        inputs = {name: arrays[name] for name in self.inputs if name in arrays}
        outputs = {name: arrays[name] for name in self.outputs if name in arrays}
        if unknown := set(arrays) - set(inputs) - set(outputs):
            raise ValueError(f"forward_backward_all: {sorted(unknown)} are neither inputs {self.inputs} nor outputs "
                             f"{self.outputs} of this net")
        nothing: dict[str, Any] = {}
        for inward, outward in zip_longest(self._batch(inputs), self._batch(outputs), fillvalue=nothing):
            _collect(values, self.forward(blobs=blobs, **inward))
            _collect(gradients, self.backward(diffs=diffs, **outward))
        padding = _padding(self._batch_size, inputs or outputs)
        return _join(values, padding, self._batch_size), _join(gradients, padding, self._batch_size)

    @property
    def _batch_size(self) -> int:
        """Items in one pass: the first axis of the net's first blob."""
        return next(iter(self.blobs.values())).shape[0]

    def _batch(self, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
        """Yield the arrays, which are of equal length, in batches; the last batch is padded with zeros."""
        count = len(next(iter(arrays.values()), ()))
        for start in range(0, count, self._batch_size):
            yield {name: _filled_up(np.asarray(array[start:start + self._batch_size]), self._batch_size)
                   for name, array in arrays.items()}

    # ---- pycaffe's names
    @property
    def _blobs(self) -> list[Blob]:
        """All blobs; the indices below refer to this order."""
        return self._graph.blobs

    @property
    def _blob_names(self) -> list[str]:
        """The name of each blob."""
        return self._graph.blob_names

    def _bottom_ids(self, layer_index: int) -> list[int]:
        """Indices of a layer's bottoms."""
        return self._graph.bottoms[layer_index]

    def _top_ids(self, layer_index: int) -> list[int]:
        """Indices of a layer's tops."""
        return self._graph.tops[layer_index]

    @property
    def _inputs(self) -> list[int]:
        """Indices of the input blobs."""
        return list(self._graph.inputs)

    @property
    def _outputs(self) -> list[int]:
        """Indices of the output blobs."""
        return list(self._graph.outputs)

    @property
    def _blob_loss_weights(self) -> list[float]:
        """The loss weight of each blob."""
        weights = dict.fromkeys(range(len(self._graph.blobs)), 0.0)
        weights.update(self._graph.loss_weights())
        return list(weights.values())

    def _forward(self, start: int, end: int) -> float:
        """Run the layers with these indices, both included; returns the weighted sum of their losses."""
        self._forward_layers(start, end)
        return float(self._loss_of(start, end))

    def _backward(self, start: int, end: int) -> None:
        """Run the layers backward from index `start` down to `end`, both included."""
        self._backward_layers(start, end)

    def _set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        self.set_input_arrays(data, labels)


Solver.net_type = Net       # solver.net and solver.test_nets are of the public class


def _check_lengths(method: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError without arrays, or if their lengths differ."""
    if not arrays:
        raise ValueError(f"{method}: give arrays by name, as in {method}(data=images); a net that reads its data "
                         "itself runs with forward() and backward()")
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError("all arrays need the same number of items, found "
                         + ", ".join(f"{name}: {len(array)}" for name, array in arrays.items()))


def _filled_up(array: np.ndarray, count: int) -> np.ndarray:
    missing = count - len(array)
    return array if not missing else np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))


def _padding(batch_size: int, arrays: Mapping[str, np.ndarray]) -> int:
    """Number of padding items in the last batch."""
    return -len(next(iter(arrays.values()), ())) % batch_size


def _collect(parts: dict[str, list], found: Mapping[str, np.ndarray]) -> None:
    for name, array in found.items():
        parts[name].append(np.atleast_1d(array).copy())


def _join(parts: Mapping[str, list], padding: int, batch_size: int) -> Arrays:
    """The parts of each array concatenated, without the padding."""
    joined = {}
    for name, arrays in parts.items():
        array = np.concatenate(arrays) if arrays else np.zeros(0, np.float32)
        rows = len(arrays[-1]) // batch_size * padding if arrays else 0
        joined[name] = array[:len(array) - rows]
    return joined
