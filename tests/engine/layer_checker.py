"""The shared checker of layers: a test gives a prototxt, inputs and a slow NumPy oracle; the checker does the rest.

    check("type: 'AbsVal'", [randn(2, 3, 4)], lambda x: abs(x), in_place=False)

checks, without a Net: the values against the oracle in float32 and float64 (inputs contiguous and channels_last),
numerical gradients of bottoms and parameters in float64, that `propagate_down: false` and frozen parameters leave
gradients untouched, that parameter gradients accumulate and bottom gradients are overwritten, another input size,
in-place use, and CPU against CUDA if there is a GPU. Inputs must have distinct dimensions: equal ones hide mixed-up
axes. On the simulated device (tests/device_apart) only CPU against CUDA runs, since the rest does not depend on it.
"""
from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from caffe.engine import device
from caffe.engine import layers as _catalogue  # noqa: F401  (fills the registry)
from caffe.engine.blob import Blob
from caffe.engine.graph.saved_values import SavedValues
from caffe.engine.layer import TEST, LayerError, make_layer
from caffe.proto import caffe_pb2, prototxt

_SENTINEL = 7.0
Arrays = Sequence[np.ndarray]


def randn(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed float64 numbers, the same in every run."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def distinct(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers in random order, no two closer than 0.1: for layers with a maximum, whose gradient jumps at ties."""
    count = int(np.prod(shape))
    return 0.1 * (np.random.default_rng([seed, *shape]).permutation(count) - count / 2 + 0.3).reshape(shape)


def refused(text: str, shapes: Sequence[tuple[int, ...]], match: str, num_tops: int = 1, phase: int = TEST) -> None:
    """Assert that a layer rejects its parameters or bottoms of these shapes, with its name and `match` in the error."""
    with pytest.raises(LayerError, match=match) as caught:
        Runner(text, [np.zeros(shape) for shape in shapes], num_tops, phase)
    assert "layer 'tested' (" in str(caught.value)


class Runner:
    """Runs one layer with its blobs as a Net does, with arrays as its interface.

    text      the contents of `layer { ... }`: type and parameters
    bottoms   arrays for the bottoms, converted to the blobs' float type
    in_place  top 0 is bottom 0
    """

    def __init__(self, text: str, bottoms: Arrays, num_tops: int = 1, phase: int = TEST,
                 in_place: bool = False) -> None:
        param = prototxt.parse(f"name: 'tested' {text}", caffe_pb2.LayerParameter())
        self.layer = make_layer(param, phase)
        self.bottom = [Blob(*array.shape) for array in bottoms]
        self.top = [Blob() for _ in range(num_tops)]
        if in_place:
            assert self.layer.runs_in_place, f"{self.layer.type} does not say that it runs in place"
            self.top[0] = self.bottom[0]
        self.set_bottoms(bottoms)
        self.layer.check_counts(len(self.bottom), len(self.top))
        self.layer.setup(self.bottom, self.top)
        self.layer.param_propagate_down = [True] * len(self.layer.blobs)
        self.layer.reshape(self.bottom, self.top)
        self._saved = SavedValues(self.layer, [[self.layer] if in_place and index == 0 else []
                                               for index in range(len(bottoms))], ())

    def set_bottoms(self, arrays: Arrays, layout: torch.memory_format = torch.contiguous_format) -> None:
        """Reshape and fill the bottoms."""
        for blob, array in zip(self.bottom, arrays, strict=True):
            blob.reshape(*array.shape)
            tensor = torch.tensor(array, dtype=device.float_type(), device=device.current_device())
            blob.tensor = tensor.contiguous(memory_format=layout) if tensor.dim() == 4 else tensor

    def set_blobs(self, arrays: Arrays) -> None:
        """Fill the parameters."""
        for blob, array in zip(self.layer.blobs, arrays, strict=True):
            assert blob.shape == array.shape, f"parameter of shape {blob.shape}, the test expects {array.shape}"
            blob.tensor = torch.tensor(array, dtype=device.float_type(), device=device.current_device())

    def forward(self) -> list[np.ndarray]:
        """Reshape and forward; returns the tops as arrays."""
        self.layer.reshape(self.bottom, self.top)
        self._saved.forward(self.bottom, self.top)
        for blob in self.top:
            stored = blob._data.tensor      # blob.tensor would convert it at every access
            assert stored is None or stored.dtype == device.float_type(), f"top of type {stored.dtype}"
        return [numpy(blob.tensor) for blob in self.top]

    def backward(self, top_diffs: Arrays, propagate_down: Sequence[bool]) -> list[np.ndarray | None]:
        """Run backward from the tops' gradients; returns those of the bottoms, None for those not requested."""
        for blob, diff in zip(self.top, top_diffs, strict=True):
            blob.grad = torch.tensor(diff, dtype=device.float_type(), device=device.current_device())
        bottom, top = self._saved.restored(self.bottom, self.top)
        self.layer.backward(top, list(propagate_down), bottom)
        return [numpy(blob.grad) if down else None for blob, down in zip(self.bottom, propagate_down, strict=True)]

    def spoil_unread_values(self) -> None:
        """Overwrite values that the layer declares unread by backward: by NaN, or by values of the same sign."""
        layer = self.layer
        for blobs, are_read in ((self.bottom, layer.backward_reads_bottoms), (self.top, layer.backward_reads_tops)):
            for blob in blobs:
                if not are_read:
                    blob.tensor = torch.full_like(blob.tensor, torch.nan)
                elif layer.backward_reads_signs:
                    blob.tensor = 3 * blob.tensor.sign()

    def parameter_diffs(self) -> list[np.ndarray]:
        """The gradients of the parameters."""
        return [numpy(blob.grad) for blob in self.layer.blobs]


def numpy(tensor: torch.Tensor) -> np.ndarray:
    """A copy as an array on the host."""
    return tensor.detach().cpu().numpy().copy()


class Check:
    """All checks of one layer; see `check`."""

    def __init__(self, text: str, bottoms: Arrays, oracle: Callable, blobs: Arrays, num_tops: int, phase: int,
                 learns: Sequence[int] | None, learned: bool | Sequence[int], gradient: bool, other: Arrays | None,
                 tolerance: float) -> None:
        for array in bottoms:
            if len(set(array.shape)) != len(array.shape):
                raise ValueError(f"an input of shape {array.shape} has equal dimensions, which hide mixed-up axes")
        self.text, self.num_tops, self.phase = text, num_tops, phase
        self.bottoms, self.blobs, self.oracle = list(bottoms), list(blobs), oracle
        self.learns = list(range(len(bottoms))) if learns is None else list(learns)
        every = range(len(self.blobs)) if learned else ()
        self.learned = every if isinstance(learned, bool) else learned
        self.gradient, self.tolerance = gradient, tolerance
        self.other = [np.concatenate([array, array[:1]]) for array in bottoms] if other is None else list(other)

    def runner(self, in_place: bool = False) -> Runner:
        made = Runner(self.text, self.bottoms, self.num_tops, self.phase, in_place)
        made.set_blobs(self.blobs)
        return made

    @functools.cached_property
    def wanted(self) -> list[np.ndarray]:
        """The oracle's tops for the given bottoms."""
        return self.expected(self.bottoms)

    def expected(self, bottoms: Arrays) -> list[np.ndarray]:
        found = self.oracle(*bottoms, *self.blobs)
        return [np.asarray(value) for value in (found if isinstance(found, tuple) else (found,))]

    def same(self, found: Arrays, wanted: Arrays, what: str, tolerance: float) -> None:
        assert len(found) == len(wanted), f"{what}: {len(found)} arrays, expected {len(wanted)}"
        for index, (value, want) in enumerate(zip(found, wanted, strict=True)):
            assert value.shape == want.shape, f"{what} {index}: shape {value.shape}, expected {want.shape}"
            np.testing.assert_allclose(value, want, rtol=tolerance, atol=tolerance, err_msg=f"{what} {index}")

    # ---- the checks
    def cpu(self, in_place: bool) -> None:
        self.values()
        self.reshaped()
        if self.gradient:
            self.gradients()
            self.flags()
            self.reads()
        if in_place:
            self.in_place_use()

    def values(self) -> None:
        for dtype, tolerance in ((torch.float32, self.tolerance), (torch.float64, 1e-9)):
            with device.use_float_type(dtype):
                runner = self.runner()
                self.same(runner.forward(), self.wanted, f"top ({dtype})", tolerance)
        runner = self.runner()
        runner.set_bottoms(self.bottoms, torch.channels_last)
        self.same(runner.forward(), self.wanted, "top (channels_last)", self.tolerance)

    def reshaped(self) -> None:
        with device.use_float_type(torch.float64):
            runner = self.runner()
            runner.forward()
            for bottoms, wanted in ((self.other, self.expected(self.other)), (self.bottoms, self.wanted)):
                runner.set_bottoms(bottoms)
                self.same(runner.forward(), wanted, "top after a reshape", 1e-9)
                if self.gradient:
                    diffs = [np.ones(blob.shape) for blob in runner.top]
                    runner.backward(diffs, self.asked())

    def asked(self) -> list[bool]:
        return [index in self.learns for index in range(len(self.bottoms))]

    def top_diffs(self) -> list[np.ndarray]:
        return [randn(*value.shape, seed=3 + index) for index, value in enumerate(self.wanted)]

    def gradients(self) -> None:
        with device.use_float_type(torch.float64):
            runner, diffs = self.runner(), self.top_diffs()
            runner.forward()
            found = runner.backward(diffs, self.asked())
            for index in self.learns:
                wanted = self.numerical(self.bottoms[index], lambda: runner.set_bottoms(self.bottoms), runner, diffs)
                self.same([found[index]], [wanted], f"gradient of bottom {index}", 1e-5)
            parameter_diffs = runner.parameter_diffs()
            for index in self.learned:
                wanted = self.numerical(self.blobs[index], lambda: runner.set_blobs(self.blobs), runner, diffs)
                self.same([parameter_diffs[index]], [wanted], f"gradient of parameter {index}", 1e-5)

    def numerical(self, array: np.ndarray, send: Callable[[], None], runner: Runner, diffs: Arrays) -> np.ndarray:
        """Central differences of sum(top * diff) by each value of the array."""
        result, step = np.zeros(array.shape), 1e-5
        for place in np.ndindex(array.shape):
            kept, sums = array[place], []
            for value in (kept + step, kept - step):
                array[place] = value
                send()
                sums.append(sum(float((top * diff).sum()) for top, diff in zip(runner.forward(), diffs, strict=True)))
            array[place] = kept
            result[place] = (sums[0] - sums[1]) / (2 * step)
        send()
        return result

    def flags(self) -> None:
        runner, diffs = self.runner(), self.top_diffs()
        runner.forward()
        full = runner.backward(diffs, self.asked())
        first = runner.parameter_diffs()
        again = runner.backward(diffs, self.asked())
        self.same([array for array in again if array is not None], [array for array in full if array is not None],
                  "bottom gradient of a second backward", self.tolerance)
        self.same(runner.parameter_diffs(), [2 * array for array in first], "accumulated gradient", self.tolerance)
        for wanted in () if runner.layer.writes_unasked else (None, *self.learns):
            self.only(runner, diffs, full, wanted)

    def reads(self) -> None:
        """Values declared unread by backward may be overwritten; signs are kept where the gradient passes."""
        plain, spoilt, diffs = self.runner(), self.runner(), self.top_diffs()
        values, _ = plain.forward(), spoilt.forward()
        found = plain.backward(diffs, self.asked())
        spoilt.spoil_unread_values()
        for one, other in zip(spoilt.backward(diffs, self.asked()), found, strict=True):
            if other is not None:
                self.same([one], [other], "gradient after unread values were overwritten: bottom", self.tolerance)
        self.same(spoilt.parameter_diffs(), plain.parameter_diffs(),
                  "gradient after unread values were overwritten: parameter", self.tolerance)
        if plain.layer.keeps_signs:
            changed = (values[0] > 0) != (self.bottoms[0] > 0)
            assert not found[0][changed].any(), "a sign was changed where a gradient passes"

    def only(self, runner: Runner, diffs: Arrays, full: Sequence[np.ndarray | None], wanted: int | None) -> None:
        """Request the gradient of one bottom, or of none, and of no parameter: all others must stay unchanged."""
        runner.layer.param_propagate_down = [False] * len(runner.layer.blobs)
        for blob in (*runner.bottom, *runner.layer.blobs):
            blob.grad = torch.full_like(blob.tensor, _SENTINEL, memory_format=torch.contiguous_format)
        runner.backward(diffs, [index == wanted for index in range(len(self.bottoms))])
        for index, blob in enumerate(runner.bottom):
            expected = full[index] if index == wanted else np.full(blob.shape, _SENTINEL)
            self.same([numpy(blob.grad)], [expected], f"bottom {index}, asked for {wanted}: gradient", self.tolerance)
        for blob in runner.layer.blobs:
            assert (numpy(blob.grad) == _SENTINEL).all(), "the gradient of a frozen parameter was touched"

    def in_place_use(self) -> None:
        apart, within, diffs = self.runner(), self.runner(in_place=True), self.top_diffs()
        self.same(within.forward(), apart.forward(), "top in place", self.tolerance)
        if self.gradient:
            asked = self.asked()
            self.same([within.backward(diffs, asked)[0]], [apart.backward(diffs, asked)[0]],
                      "gradient in place", self.tolerance)
            self.same(within.parameter_diffs(), apart.parameter_diffs(), "parameter gradient in place", self.tolerance)

    def results(self) -> list[np.ndarray]:
        runner = self.runner()
        found = runner.forward()
        if self.gradient:
            bottoms = runner.backward(self.top_diffs(), self.asked())
            found += [array for array in bottoms if array is not None] + runner.parameter_diffs()
        return found

    def cuda(self) -> None:
        on_cpu = self.results()
        device.set_mode_gpu()
        try:
            self.same(self.results(), on_cpu, "on CUDA: array", max(self.tolerance, 1e-4))
        finally:
            device.set_mode_cpu()


def check(text: str, bottoms: Arrays, oracle: Callable, *, blobs: Arrays = (), num_tops: int = 1, phase: int = TEST,
          learns: Sequence[int] | None = None, learned: bool | Sequence[int] = True, gradient: bool = True,
          other: Arrays | None = None, in_place: bool = False, tolerance: float = 2e-5) -> None:
    """Check one layer in every way listed in the module's docstring.

    text        the contents of `layer { ... }`
    bottoms     float64 arrays, each with distinct dimensions
    oracle      (*bottoms, *blobs) -> the top, or a tuple of tops
    blobs       values for the layer's parameters, in order
    num_tops    number of tops
    learns      indices of the bottoms that get a gradient; default: all
    learned     False if the blobs are not learned parameters; indices of the learned ones if only some are
    gradient    False if the layer has no gradient, or its values are not smooth
    other       bottoms of another size; by default the given ones with their first item repeated
    in_place    whether the layer may run in place
    tolerance   relative and absolute tolerance in float32
    """
    one = Check(text, [np.array(array, np.float64) for array in bottoms], oracle,
                [np.array(blob, np.float64) for blob in blobs], num_tops, phase, learns, learned, gradient, other,
                tolerance)
    if "DEVICE_APART" not in os.environ:
        one.cpu(in_place)
    if torch.cuda.is_available():
        one.cuda()
