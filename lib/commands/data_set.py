"""Finds the data set of a run, and checks it before training."""
from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import UserError
from utils.files import read_record, write_json, write_text
from utils.text import listing

if TYPE_CHECKING:       # imported on use, so that --help is fast
    from datasets.evaluation import Evaluation
    from datasets.imdb import imdb as Imdb
    from datasets.problems import Problem

# Records of the images that were decoded, see `broken_images`
DECODED, DECODED_TEST, DECODED_VAL = "decoded_images.json", "decoded_test_images.json", "decoded_val_images.json"
_RESULTS_OF = "data_set.json"      # names the data set whose results a folder holds


def find_imdb(name: str, option: str = "--imdb", classes: Sequence[str] | None = None) -> Imdb:
    """The data set with this name or path, given by `option`; its objects are matched to the names `classes`, if any.

    Raises UserError that says how to get it if it is missing.
    """
    from datasets.factory import DatasetError, get_imdb
    try:
        return get_imdb(name, classes)
    except (DatasetError, FileNotFoundError) as error:
        raise UserError(f"{option} {name}: {error}") from None


def load_imdb(name: str, classes: Sequence[str] | None = None) -> Imdb:
    """`find_imdb`, and print a summary of the data set. Also raises UserError if it has no object of the classes."""
    imdb = find_imdb(name, classes=classes)
    print(imdb.summary(), flush=True)
    if classes:
        check_has_classes(imdb, "--imdb", name, classes)
    return imdb


def check_has_classes(imdb: Imdb, option: str, name: str, classes: Sequence[str]) -> None:
    """Raise UserError if a data set has annotated objects, but none of the detector's classes."""
    others = imdb.other_classes(classes)
    if others:
        raise UserError(f"{option} {name}: none of its objects has a class of the detector, which has "
                        f"{', '.join(classes[1:])}; they are {', '.join(others)}")


def check_division(trained: str, tested: str) -> None:
    """Raise UserError if the test data set was split differently for training; `trained` is '' if unknown.

    Prints a note if it is tested as a whole.
    """
    from datasets.factory import divisions_of_both
    for path, share, other in divisions_of_both(trained, tested):
        if other and other != share:
            raise UserError(f"--imdb {tested}: the detector was trained with another division of {path}, and has seen "
                            f"some of these images; give {share.options}")
        if not other:
            print(f"Note: the detector was trained on images of {path}; {share.options} tests on the others only",
                  flush=True)


def find_inputs(imdb: str, weights: Path | None, test_imdb: str | None = None) -> tuple[Imdb, Imdb | None]:
    """The data sets for training and, if any, for testing.

    Raises a single UserError for everything that is wrong with data sets and initial weights.
    """
    problems: list[str] = []
    found: dict[str, Imdb] = {}
    options = {imdb: "--imdb"}
    if test_imdb:
        options.setdefault(test_imdb, "--test_imdb")
    for name, option in options.items():
        trained = found.get(imdb)       # the detector will have its class names
        try:
            found[name] = find_imdb(name, option, trained.classes if trained else None)
        except UserError as error:
            problems.append(str(error))
    if weights and not weights.is_file():
        problems.append(f"weights: there is no file {weights}. {_how_to_get(weights)}. --weights FILE names another "
                        "caffemodel, --weights none trains from random weights")
    if len(problems) > 1:
        raise UserError("several things are missing or wrong:\n" + "\n".join(f"- {problem}" for problem in problems))
    if problems:
        raise UserError(problems[0])
    if weights:
        _print_other_classes(weights, found[imdb].classes)
    return found[imdb], found[test_imdb] if test_imdb else None


def suggest_validation_set(imdb: Imdb, name: str, test_imdb: Imdb | None = None) -> None:
    """Print how to validate on the data set's validation split, if it has one that is not used for testing."""
    from datasets.factory import validation_part_of
    from datasets.source import Source
    source = getattr(imdb, "source", None)
    part = validation_part_of(name, source) if isinstance(source, Source) else None
    if not part:
        return
    path, _, split = part.rpartition(":")
    if not test_imdb or test_imdb.location != f"{Path(path).resolve()}:{split}":
        print(f"To measure the models on a split of its own while they train: --val_imdb {shlex.quote(part)}",
              flush=True)


def find_validation_set(name: str, classes: Sequence[str]) -> Imdb:
    """The data set of --val_imdb, with its objects matched to the class names of the training.

    Raises UserError if it is missing, has no object of these classes, or cannot tell how good detections are.
    """
    imdb = find_imdb(name, "--val_imdb", classes)
    check_has_classes(imdb, "--val_imdb", name, classes)
    if not any((entry["gt_classes"] > 0).any() for entry in imdb.gt_roidb()):
        raise UserError(f"--val_imdb {name}: has no annotated object, so that nothing can be measured on it")
    _try_evaluation(imdb)
    return imdb


def _try_evaluation(imdb: Imdb) -> None:
    """Evaluate no detections on a custom data set, as its `evaluate_detections` may return nothing."""
    from datasets.imdb import imdb as Base
    if type(imdb).objects_of_class is Base.objects_of_class:
        with tempfile.TemporaryDirectory() as folder:
            check_evaluation(imdb.evaluate_detections([[np.zeros((0, 5), np.float32)] * imdb.num_images
                                                       for _ in imdb.classes], folder), imdb)


def check_evaluation(result: object, imdb: Imdb) -> Evaluation:
    """The result of `evaluate_detections`; raises UserError if it is not an Evaluation."""
    from datasets.evaluation import Evaluation
    if not isinstance(result, Evaluation):
        raise UserError(f"{imdb.name}: its evaluate_detections returns {type(result).__name__} instead of an "
                        "Evaluation, so that models cannot be compared: leave --val_imdb out")
    return result


def _print_other_classes(weights: Path, classes: Sequence[str]) -> None:
    """Print a note if the initial weights are from a detector with equally many, but other classes, and so fit."""
    from fast_rcnn.detector_record import find_record
    record = find_record(weights, weights)
    if record and record.classes and len(record.classes) == len(classes) and record.classes != tuple(classes):
        print(f"Note: {weights} is from a detector of {', '.join(record.classes[1:])}; if the net has its cls_score "
              f"and bbox_pred, these are loaded for {', '.join(classes[1:])}, in this order", flush=True)


def _how_to_get(weights: Path) -> str:
    """How to get ImageNet weights, for the net named in the file name."""
    for net in ("VGG_CNN_M_1024", "ZF"):
        if weights.name.startswith(f"{net}."):
            return (f"{net}'s have no public address any more: put py-faster-rcnn's imagenet_models.tgz into data/, "
                    "and data/scripts/fetch_imagenet_models.sh unpacks it")
    for net in ("VGG16_convs", "VGG16", "SqueezeNet"):
        if weights.name.startswith(f"{net}."):
            return f"data/scripts/fetch_imagenet_models.sh {net} fetches them"
    return ("data/scripts/fetch_imagenet_models.sh fetches those of VGG16 and SqueezeNet, tools/convert_weights.py "
            "converts torchvision's; other nets: data/README.md")


def print_report(result: object) -> None:
    """Print the result of evaluate_detections; data sets written for py-faster-rcnn print it themselves."""
    if hasattr(result, "report"):
        print(result.report(), flush=True)


def prepare_to_train(imdb: Imdb, name: str, record: str | os.PathLike | None = None) -> list[str]:
    """Decode each image once, leave out unusable ones, and print a summary of the data set.

    Images are unusable if they cannot be decoded, or have no pixels left when scaled by cfg.TRAIN or cfg.TEST.

    record   file that records which images were decoded; see `broken_images`. If the summary is too long to list all
             problems, they are written to a file beside it
    returns  the files left out
    Raises UserError that lists everything wrong with the data set if nothing is left to train on.
    """
    from datasets.decoding import broken_images, problem_with
    from datasets.factory import DatasetError
    broken = {file: problem_with(file) or "cannot be decoded" for file in broken_images(image_paths(imdb), record)}
    try:
        imdb.leave_out(broken)
        vanishing = {**_vanishing(imdb, "TEST"), **_vanishing(imdb, "TRAIN")}
        imdb.leave_out(vanishing)
        problems = imdb.validate()
    except DatasetError as error:
        raise UserError(f"--imdb {name}: {error}") from None
    print(imdb.summary(), flush=True)
    if record:
        _write_problems(problems, Path(record).with_name("data_set_problems.txt"))
    return [*broken, *vanishing]


def _vanishing(imdb: Imdb, phase: str) -> dict[str, str]:
    """The files of images that have no pixels left when scaled for `phase` (TRAIN or TEST), and why."""
    from fast_rcnn.config import cfg
    from utils.blob import has_pixels
    scales, most = cfg[phase].SCALES, cfg[phase].MAX_SIZE
    return {file: f"has {width} x {height} pixels, and none when scaled to {phase}.SCALES {list(scales)} and "
                  f"{phase}.MAX_SIZE {most}"
            for file, (width, height) in zip(image_paths(imdb), imdb.image_sizes(), strict=True)
            if not all(has_pixels(height, width, scale, most) for scale in scales)}


def _write_problems(problems: Sequence[Problem], path: Path) -> None:
    """Write all problems of a data set to a file, unless its summary lists them all."""
    from datasets.problems import is_shortened, report
    if is_shortened(problems):
        write_text(path, report(problems, None) + "\n")
        print(f"all {len(problems)} problems: {path}", flush=True)


def check_images(imdb: Imdb, option: str, name: str, record: str | os.PathLike | None = None) -> None:
    """Decode each image once (see `prepare_to_train`). Raises UserError that lists unusable images."""
    from datasets.decoding import broken_images, problem_with
    broken = {file: problem_with(file) or "" for file in broken_images(image_paths(imdb), record)}
    if broken:
        lines = [f"{file}: {why}" if why not in ("", "cannot be decoded") else file for file, why in broken.items()]
        raise UserError("\n".join([f"{option} {name}: images that cannot be decoded: fix or remove them", *lines]))
    vanishing = _vanishing(imdb, "TEST")
    if vanishing:
        lines = [f"{file} {why}" for file, why in vanishing.items()]
        raise UserError("\n".join([f"{option} {name}: images that cannot be tested: change the settings or remove them",
                                   *lines]))


def image_paths(imdb: Imdb) -> Sequence[str]:
    """File of each image."""
    return [imdb.image_path_at(index) for index in range(imdb.num_images)]


def use_proposals(imdb: Imdb, method: str, file: str | None) -> None:
    """Set the data set's proposal method, with the file for 'rpn'.

    Raises UserError if it has no such proposals, and for a file that the method does not use.
    """
    if file and method != "rpn":
        raise UserError(f"--proposals {file}: would not be used, as PROPOSAL_METHOD is {method}; set it to rpn, or "
                        "leave the file out")
    if method == "rpn" and not file:
        raise UserError("PROPOSAL_METHOD is rpn: give --proposals FILE (tools/rpn_generate.py writes it)")
    if method == "rpn":
        check_reads_proposals(imdb)
    imdb.config["rpn_file"] = file
    try:
        imdb.set_proposal_method(method)
        len(imdb.roidb)
    except ValueError as error:
        raise UserError(f"{error} (PROPOSAL_METHOD is {method})") from None


def check_reads_proposals(imdb: Imdb) -> None:
    """Raise UserError if a custom data set has an `rpn_roidb` of its own that cannot read files of proposals."""
    from datasets.imdb import imdb as Base
    from datasets.proposals_file import save_proposals
    if type(imdb).rpn_roidb is Base.rpn_roidb:
        return
    count, given = imdb.num_images, imdb.config.get("rpn_file")
    with tempfile.TemporaryDirectory() as folder:
        imdb.config["rpn_file"] = str(Path(folder, "proposals.npz"))
        save_proposals(imdb.config["rpn_file"], [np.array([[0, 0, 15, 15]])] * count, [np.ones(1)] * count,
                       imdb.image_index)
        try:
            imdb.rpn_roidb()
        except Exception as error:
            name = type(imdb).__name__
            raise UserError(f"{name}.rpn_roidb cannot read proposals, which tools write as .npz files "
                            f"({type(error).__name__}: {error}): remove this method from {name}, as the one of imdb "
                            "reads them") from error
        finally:
            imdb.config["rpn_file"] = given


def claim_results(folder: Path, imdb: Imdb) -> None:
    """Record that a folder holds results of this data set. Raises UserError if it holds those of another one."""
    check_results(folder, imdb)
    write_json(folder / _RESULTS_OF, {"data set": imdb.location})


def check_own_results(folder: Path, tables: Sequence[str] = ()) -> None:
    """Raise UserError if files of a test would replace others in a folder that holds no results of these tools.

    tables  names of further files that the test writes
    """
    from datasets.detection_files import DETECTIONS, EVALUATION
    if any((folder / name).is_file() for name in (_RESULTS_OF, DETECTIONS)):
        return
    results = [*(folder / name for name in (EVALUATION, *tables)), *sorted(folder.glob("comp4_det_*.txt"))]
    taken = [path for path in results if os.path.lexists(path)]
    if taken:
        raise UserError(f"{listing(taken, 1)}: would be overwritten, but is not from a test by these tools; name "
                        "another folder, or move it")


def data_set_of_results(folder: Path) -> str:
    """Name of the data set whose results a folder holds, as recorded with them; '' if unknown."""
    note = folder / _RESULTS_OF
    return str(read_record(note, "delete it", **{"data set": str})["data set"]) if note.is_file() else ""


def results_folder(run: str | os.PathLike, imdb: Imdb) -> Path:
    """The folder for the results of a run's detector on a data set."""
    return Path(run, "test", imdb.name)


def check_results(folder: Path, imdb: Imdb) -> None:
    """Raise UserError if a folder holds results of another data set, even one with the same name.

    A recorded data set that is no longer in its place may have been moved, and is taken to be the same.
    """
    note = folder / _RESULTS_OF
    other = data_set_of_results(folder)
    if other and other != imdb.location and os.path.exists(other.split("+")[0].rpartition(":")[0] or os.sep):
        raise UserError(f"{folder} holds results of {other}, not of {imdb.location}: name another folder, or delete "
                        f"{note}")
