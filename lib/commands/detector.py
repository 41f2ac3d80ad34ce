"""Finds and loads the files of a trained detector."""
from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from caffe.proto.caffe_pb2 import TEST
from checks.net_file import NetFile
from checks.nets import check_for_tests, check_outputs, check_row_net, check_test_net, check_widths
from commands.options import apply_cfg, check_thresh, existing_file
from datasets.class_names import with_background
from fast_rcnn.config import Changes, cfg, check_one_scale
from fast_rcnn.detector_record import (
    RUN_RECORD,
    RUN_SETTINGS,
    DetectorRecord,
    defaults_in_use,
    find_record,
    run_record,
)
from fast_rcnn.net_settings import bind_settings
from utils.errors import UserError, raise_all
from utils.names import READ_LATER, RPN_OUTPUTS
from utils.other_caffe import Net, blob_shape, free_intermediates, make_test_net
from utils.prototxt import read_label_map
from utils.weights import load_all_weights


@dataclass
class DetectorFiles:
    """The files of a detector: test net, weights, and its record, if any."""

    net: str
    weights: str
    record: DetectorRecord | None = None

    @property
    def settings(self) -> Changes:
        """Its settings, as changes to the defaults."""
        return self.record.settings if self.record else {}

    @property
    def classes(self) -> Sequence[str] | None:
        """Its class names, background first; None if they are unknown."""
        return self.record.classes if self.record else None

    @cached_property
    def lists_detections(self) -> bool:
        """Whether the net outputs a list of detections, as SSD does, instead of scores and boxes of RoIs."""
        return bool(NetFile(self.net, TEST).detection_layers())

    def load(self, num_classes: int, of: str = "the data set", hint: str = "", needs_rpn: bool = False) -> Net:
        """Load the net, after checking it against the number of classes of `of`, and bind the settings of cfg to it.

        hint       appended to the message if its classes or anchors do not fit
        needs_rpn  reject a net that takes proposals as input
        Raises CheckError, ConfigError, or caffe's exceptions for bad files.
        """
        if self.lists_detections:
            return self._load_row_net(num_classes, of, hint)
        from fast_rcnn.test import DetectionSettings
        problems = [*check_test_net(self.net, num_classes, of=of), *anchor_problems(self.net, self.record)]
        raise_all([*problems, *self._rpn_problems(needs_rpn)], hint if problems else "")
        if cfg.TEST.HAS_RPN:
            check_one_scale(cfg.TEST.SCALES)
        net = make_test_net(self.net)
        load_all_weights(net, self.weights, self.net)
        settings = DetectionSettings.from_cfg(cfg)
        boxes = ["bbox_pred"] if settings.bbox_reg else []
        check_outputs(net, self.net, *([] if settings.svm else [settings.scores]), *boxes)
        raise_all(check_widths(net, self.net, num_classes, of, settings.scores, *boxes), hint)
        bind_settings(net, settings)
        return free_intermediates(net, keep=READ_LATER)

    def _load_row_net(self, num_classes: int, of: str, hint: str) -> Net:
        from fast_rcnn.test import DetectionSettings
        raise_all(check_row_net(self.net, num_classes, of), hint)
        net = make_test_net(self.net)
        load_all_weights(net, self.weights, self.net)
        output = NetFile(self.net, TEST).detection_layers()[0].top[0]
        check_outputs(net, self.net, output)
        height, width = blob_shape(net.blobs["data"])[2:]
        bind_settings(net, DetectionSettings.from_cfg(cfg).for_rows(output, (height, width)))
        return free_intermediates(net)

    def untrained_rpn(self) -> str:
        """A message if the record says that the weights have no trained RPN and cfg does not override it; else ''."""
        if cfg.TEST.HAS_RPN or self.settings.get("TEST.HAS_RPN") is not False or not self.record:
            return ""
        return (f"{self.weights} was trained without an RPN, says {self.record.source}. Only if there is a trained RPN "
                "in it, add --set TEST.HAS_RPN True")

    def _rpn_problems(self, needs_rpn: bool) -> Iterator[str]:
        has_rpn = bool(NetFile(self.net, TEST).proposal_layers())
        if has_rpn and (untrained := self.untrained_rpn()):
            yield f"{self.net}: makes its own proposals; give a test net that reads them, as {untrained}"
        elif has_rpn and not cfg.TEST.HAS_RPN:
            yield (f"{self.net}: makes its own proposals, but TEST.HAS_RPN is False: the settings of this detector are "
                   f"missing, and so are the sizes and means of its images. Give those it was trained with, --cfg FILE "
                   f"({RUN_SETTINGS} in the folder of its run). Only if it was trained with {_inputs()}, "
                   f"add --set TEST.HAS_RPN True")
        elif needs_rpn and not has_rpn:
            yield f"{self.net}: reads its proposals; a detector that makes its own is needed"
        elif cfg.TEST.HAS_RPN and not has_rpn:
            yield f"{self.net}: has no RPN, but TEST.HAS_RPN is True; add --set TEST.HAS_RPN False"


def check_makes_proposals(files: DetectorFiles) -> None:
    """Raise UserError if it is known that a detector has no trained RPN."""
    if untrained := files.untrained_rpn():
        raise UserError(f"a detector that makes its own proposals is needed; {untrained}")


def anchor_problems(net: str | os.PathLike, record: DetectorRecord | None) -> Iterator[str]:
    """Problems of a test net whose anchors are not the trained ones, even if their number is the same."""
    file = NetFile(net, TEST)
    if record is None or record.anchors is None or file.param_problems:
        return
    for layer, layout in next(iter(file.rpns()), []):       # the record is of the first RPN
        if layout != record.anchors:
            yield file.problem(layer, f"feat_stride, scales and ratios are {layout}, those of the trained net "
                                      f"{record.anchors}, says {record.source}")


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Add --run, --def, --net and --classes."""
    parser.add_argument("--run", metavar="DIR", help="output folder of tools/train_faster_rcnn_alt_opt.py: its "
                                                     "detector with its settings; instead of --def and --net")
    parser.add_argument("--def", dest="prototxt", metavar="FILE", help="prototxt of the test net")
    parser.add_argument("--net", metavar="FILE", help="caffemodel; its settings and class names are taken from the "
                                                      f"<caffemodel>.detector.json, {RUN_RECORD} or {RUN_SETTINGS} "
                                                      "beside it, if there is one")
    parser.add_argument("--classes", nargs="+", metavar="NAME",
                        help="class names of the net without the background, if they are not known; or a label map "
                             "of SSD, *.prototxt")


def find_detector(args: argparse.Namespace) -> DetectorFiles:
    """The detector named by the options, with its settings and class names, if known.

    Prints where these come from, unless --run is given. Raises UserError that says what is missing.
    """
    if args.run:
        return _of_run(args)
    if not (args.prototxt and args.net):
        raise UserError("which detector? Give --run DIR, or --def FILE and --net FILE")
    net, weights = existing_file(args.prototxt, "--def"), existing_file(args.net, "--net")
    return DetectorFiles(net, weights, record_beside(args))


def find_proposing_detector(args: argparse.Namespace) -> DetectorFiles:
    """As `find_detector`, for a tool that needs a detector with an RPN; its settings are applied to cfg.

    Raises UserError, also for a wrong --thresh and if the RPN is known to be untrained.
    """
    files = find_detector(args)
    apply_cfg(args, files.settings)
    check_thresh(args.thresh, cfg)
    check_makes_proposals(files)
    cfg.TEST.HAS_RPN = True
    return files


def record_beside(args: argparse.Namespace) -> DetectorRecord | None:
    """The record beside --net or --def. Prints its path, or the settings in use without a record and --cfg."""
    record = find_record(args.net, args.prototxt)
    if record:
        print(f"Settings{' and class names' if record.classes else ''} of the net: {record.source}", flush=True)
    elif not args.cfg:
        print(f"Note: nothing beside {args.net} says with which settings it was trained; unless --set says otherwise, "
              f"they are {_inputs()}. Give others by --cfg FILE", flush=True)
    return record


def _inputs() -> str:
    return ", ".join(defaults_in_use(cfg))


def _of_run(args: argparse.Namespace) -> DetectorFiles:
    folder = Path(args.run)
    if not folder.is_dir():
        raise UserError(f"--run: there is no folder {args.run}")
    files = detector_of_run(folder, "--run ")
    return DetectorFiles(args.prototxt or files.net, args.net or files.weights, files.record)


def detector_of_run(folder: Path, option: str = "") -> DetectorFiles:
    """The finished detector in a run's folder, which `option` named, for the message. Raises UserError if none."""
    if not (folder / RUN_RECORD).is_file():
        raise UserError(f"{option}{folder}: has no finished detector ({RUN_RECORD}); finish the run with --resume, or "
                        "give the prototxt of a test net and a caffemodel")
    record = run_record(folder)
    return DetectorFiles(str(record.net), str(record.model), record)


def class_names(files: DetectorFiles, given: Sequence[str] | None) -> Sequence[str] | None:
    """Class names of a detector, background first: those it was trained with, else the `given` ones, if any.

    If the same names are given in another order, the detector's order is kept; other names rename its classes, which is
    printed. Raises UserError if their number differs, or two names are equal.
    """
    names = with_background(_named(given)) if given else None
    known = files.classes
    if not known or not names:
        return known or names
    if len(names) != len(known):
        raise UserError(f"--classes: has {len(names)} classes with the background, the detector has {len(known)}: "
                        f"{', '.join(known[1:])}")
    if set(names) == set(known):
        return known
    pairs = ", ".join(f"{old} -> {new}" for old, new in zip(known[1:], names[1:], strict=True))
    print(f"Classes renamed by --classes: {pairs}", flush=True)
    return names


def _named(given: Sequence[str]) -> Sequence[str]:
    """The names given by --classes, or those in the label map that it names."""
    if not isinstance(given, str) and len(given) == 1 and str(given[0]).endswith(".prototxt"):
        return read_label_map(given[0])[1:]
    return given


def load_rpn(net_file: str | os.PathLike, weights: str | os.PathLike) -> Net:
    """Load a region proposal network for `im_proposals`, and bind the settings of cfg to it.

    Raises CheckError if it is a training net, or lacks outputs or weights.
    """
    from rpn.generate import GenerationSettings
    check_for_tests(net_file)
    net = make_test_net(net_file)
    load_all_weights(net, weights, net_file)
    check_outputs(net, net_file, *RPN_OUTPUTS)
    bind_settings(net, GenerationSettings.from_cfg(cfg))
    return free_intermediates(net)
