"""Builds every net of a run once before training, so that an error in the last one is found at the start."""
from __future__ import annotations

import contextlib
import gc
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from alt_opt.files import StepFiles
from alt_opt.plan import Run, Step
from checks.net_file import NetFile
from checks.nets import check_outputs, check_widths, inherited_layers
from commands.validation import write_net_on_rois
from fast_rcnn.config import set_cfg
from utils.errors import is_user_error, message_of, raise_all
from utils.names import DETECTOR_OUTPUTS, RPN_OUTPUTS
from utils.other_caffe import Net, make_test_net
from utils.weights import check_varied, load_initial_weights

Shapes = dict[str, list[list[int]]]     # parameter shapes of each layer
_DETECTOR = "detector"


@contextlib.contextmanager
def _old_objects_frozen() -> Iterator[None]:
    """Limit garbage collection in the block to objects created there: searching PyTorch's modules is slow."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@_old_objects_frozen()
def dry_run(run: Run, steps: Sequence[Step]) -> None:
    """Build the nets of all steps and of the detector in turn, on the CPU; load the initial weights.

    Leaves `cfg` with the settings of the last step.
    Raises CheckError that lists every error, including nets that cannot load the weights of the previous step.
    """
    import caffe
    print("Dry run: building every net", flush=True)
    caffe.set_mode_cpu()
    problems: list[str] = []
    shapes: dict[str, Shapes] = {}
    for step in steps:
        set_cfg(run.settings[step.name])
        with _collected(_path(run, step), problems):
            shapes[step.name] = (_train_shapes(run, step) if step.trains
                                 else _test_shapes(run.nets.rpn_test, *RPN_OUTPUTS))
    with _collected(run.nets.detector_test, problems):
        shapes[_DETECTOR] = _test_shapes(run.nets.detector_test, *DETECTOR_OUTPUTS, num_classes=len(run.classes))
    if run.validation:
        with _collected(run.nets.detector_test, problems), tempfile.TemporaryDirectory() as folder:
            _test_shapes(write_net_on_rois(run.nets.detector_test, Path(folder, "test.pt")), *DETECTOR_OUTPUTS)
    for step in steps:
        if step.init:
            problems += _misfits(_path(run, step), shapes.get(step.name), shapes.get(step.init), step.init,
                                 inherited_layers(_path(run, step), step.kind) if step.trains else None)
    problems += _misfits(run.nets.detector_test, shapes.get(_DETECTOR), shapes.get(steps[-1].name), steps[-1].name)
    raise_all(problems)


def _path(run: Run, step: Step) -> Path:
    return run.nets.train_net(step.name) if step.trains else run.nets.rpn_test


@contextlib.contextmanager
def _collected(path: Path, problems: list[str]) -> Iterator[None]:
    """Append user errors raised in the block to `problems`; afterwards free the nets built there."""
    try:
        yield
    except Exception as error:
        if not is_user_error(error):
            raise
        text = message_of(error)
        problems.append(text if str(path) in text else f"{path}: {text}")
    finally:
        gc.collect()


def _train_shapes(run: Run, step: Step) -> Shapes:
    import caffe
    solver = caffe.get_solver(os.fspath(run.nets.solver_to_run(step.name, StepFiles(run.output, step.name).solver)))
    net = run.nets.train_net(step.name)
    if step.init is None:
        if run.weights:
            load_initial_weights(solver.net, run.weights, net, run.skip_unfitting)
        check_varied(solver.net, net)
    return _shapes(solver.net)


def _test_shapes(path: Path, *outputs: str, num_classes: int = 0) -> Shapes:
    """Parameter shapes of a test net with these outputs; their width is checked for `num_classes`, if not 0."""
    net = make_test_net(path)
    check_outputs(net, path, *outputs)
    if num_classes:
        raise_all(check_widths(net, path, num_classes, "the data set", *outputs))
    return _shapes(net)


def _shapes(net: Net) -> Shapes:
    return {name: [list(blob.shape) for blob in blobs] for name, blobs in net.params.items() if len(blobs)}


def _misfits(path: Path, net: Mapping[str, list] | None, source: Mapping[str, list] | None, source_name: str,
             needed: Collection[str] | None = None) -> Iterator[str]:
    """Problems of layers that cannot load the weights of `source`, from which the net is initialised.

    needed  layers that must be in `source`, as the net does not train them; None: all
    """
    if net is None or source is None:
        return
    file = NetFile(path)
    for layer in file.layers:
        wanted, found = net.get(layer.name), source.get(layer.name)
        if wanted and found is None and (needed is None or layer.name in needed):
            yield file.problem(layer, f"{source_name} trains no layer of this name, so that it would have no weights")
        elif wanted and found and wanted != found:
            yield file.problem(layer, f"its weights have the shapes {wanted}, those of {source_name}, from which it is "
                                      f"initialised, {found}")
