"""A trained detector on disk, and how the tools find its files."""
from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe.proto.caffe_pb2 import TEST
from checks.net_file import NetFile
from checks.nets import check_for_tests, check_outputs, check_test_net
from commands.options import existing_file
from fast_rcnn.config import cfg, check_one_scale
from utils.errors import UserError, raise_all
from utils.files import read_record
from utils.other_caffe import Net, free_intermediates
from utils.weights import load_all_weights


@dataclass
class DetectorFiles:
    """The files of a detector: test net, weights, settings (None: defaults), class names (None: unknown)."""

    net: str
    weights: str
    cfg: str | None = None
    classes: Sequence[str] | None = None

    def load(self, num_classes: int, of: str = "the data set", hint: str = "") -> Net:
        """Load the net, after checking it against the number of classes of `of`.

        `hint` is appended to the message if a check fails. Raises CheckError, ConfigError, or what caffe raises for
        bad files.
        """
        import caffe
        raise_all([*check_test_net(self.net, num_classes, of=of), *self._rpn_problems()], hint)
        if cfg.TEST.HAS_RPN:
            check_one_scale(cfg.TEST.SCALES)
        net = caffe.Net(self.net, caffe.TEST)
        load_all_weights(net, self.weights, self.net)
        check_outputs(net, self.net, *([] if cfg.TEST.SVM else ["cls_prob"]),
                             *(["bbox_pred"] if cfg.TEST.BBOX_REG else []))
        return free_intermediates(net, keep=["rois", "cls_score"])       # read by im_detect

    def _rpn_problems(self) -> Iterator[str]:
        has_rpn = bool(NetFile(self.net, TEST).proposal_layers())
        if has_rpn != cfg.TEST.HAS_RPN:
            yield (f"{self.net}: {'makes its own proposals' if has_rpn else 'has no RPN'}, but TEST.HAS_RPN is "
                   f"{cfg.TEST.HAS_RPN}; add --set TEST.HAS_RPN {has_rpn}")


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """--run, or --def and --net."""
    parser.add_argument("--run", metavar="DIR", help="output folder of tools/train_faster_rcnn_alt_opt.py: its "
                                                     "detector with its settings; instead of --def and --net")
    parser.add_argument("--def", dest="prototxt", metavar="FILE", help="prototxt of the test net")
    parser.add_argument("--net", metavar="FILE", help="caffemodel")


def find_detector(args: argparse.Namespace) -> DetectorFiles:
    """The detector named by the options; sets args.cfg to its settings unless the user gave others.

    Raises UserError that says what is missing.
    """
    if args.run:
        return _of_run(args)
    if not (args.prototxt and args.net):
        raise UserError("which detector? Give --run DIR, or --def FILE and --net FILE")
    return DetectorFiles(existing_file(args.prototxt, "--def"), existing_file(args.net, "--net"), args.cfg)


def _of_run(args: argparse.Namespace) -> DetectorFiles:
    note = Path(args.run, "detector.json")
    if not note.is_file():
        raise UserError(f"--run {args.run}: has no finished detector ({note.name}); finish the run with --resume")
    parts = read_record(note, "the command that trained it, with --resume, writes it anew",
                        cfg=str, net=str, model=str, classes=list)
    args.cfg = args.cfg or str(note.parent / parts["cfg"])
    return DetectorFiles(args.prototxt or str(note.parent / parts["net"]),
                         args.net or str(note.parent / parts["model"]), args.cfg, parts["classes"])


def load_rpn(net_file: str | os.PathLike, weights: str | os.PathLike) -> Net:
    """Load a region proposal net for `im_proposals`.

    Raises CheckError if it is a training net, or lacks outputs or weights.
    """
    import caffe
    check_for_tests(net_file)
    net = caffe.Net(os.fspath(net_file), caffe.TEST)
    load_all_weights(net, weights, net_file)
    check_outputs(net, net_file, "rois", "scores")
    return free_intermediates(net)
