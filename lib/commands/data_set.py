"""Finding the data set of a run, and checking it before training."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError

if TYPE_CHECKING:       # imported where it is used: the tools' --help is quick
    from datasets.imdb import imdb as Imdb


def find_imdb(name: str, option: str = "--imdb") -> Imdb:
    """The data set of this name or path, which `option` gave. Raises UserError that says how to get it."""
    from datasets.factory import DatasetError, get_imdb
    try:
        return get_imdb(name)
    except (DatasetError, FileNotFoundError) as error:
        raise UserError(f"{option} {name}: {error}") from None


def load_imdb(name: str) -> Imdb:
    """`find_imdb`, and the data set is described on the standard output."""
    imdb = find_imdb(name)
    print(imdb.summary(), flush=True)
    return imdb


def find_inputs(imdb: str, weights: Path | None, test_imdb: str | None = None) -> tuple[Imdb, Imdb | None]:
    """The data sets to train and, if any, to test on.

    Raises one UserError for everything wrong with data sets and initial weights.
    """
    problems: list[str] = []
    found: dict[str, Imdb] = {}
    options = {imdb: "--imdb"}
    if test_imdb:
        options.setdefault(test_imdb, "--test_imdb")
    for name, option in options.items():
        try:
            found[name] = find_imdb(name, option)
        except UserError as error:
            problems.append(str(error))
    if weights and not weights.is_file():
        problems.append(f"weights: there is no file {weights}. {_how_to_get(weights)}. --weights FILE names another "
                        "caffemodel, --weights none trains from random weights")
    if len(problems) > 1:
        raise UserError("several things are missing or wrong:\n" + "\n".join(f"- {problem}" for problem in problems))
    if problems:
        raise UserError(problems[0])
    return found[imdb], found[test_imdb] if test_imdb else None


def _how_to_get(weights: Path) -> str:
    """The way to weights from ImageNet, by the net's name in that of their file."""
    for net in ("VGG_CNN_M_1024", "ZF"):
        if weights.name.startswith(f"{net}."):
            return (f"{net}'s have no public address any more: put py-faster-rcnn's imagenet_models.tgz into data/, "
                    "and data/scripts/fetch_imagenet_models.sh unpacks it")
    return ("VGG16: data/scripts/fetch_imagenet_models.sh, or make it from torchvision's weights with "
            "tools/convert_weights.py; other nets: data/README.md")


def print_report(result: object) -> None:
    """Print what evaluate_detections returned; data sets written for py-faster-rcnn print it themselves."""
    if hasattr(result, "report"):
        print(result.report(), flush=True)


def prepare_to_train(imdb: Imdb, name: str, record: str | os.PathLike | None = None) -> list[str]:
    """Decode each image once and leave out those that cannot be; describe the data set on the standard output.

    record   file that remembers which images were decoded; see `broken_images`
    returns  the files that are left out
    Raises UserError, with everything that is wrong with the data set, if there is nothing left to train on.
    """
    from datasets.decoding import broken_images
    from datasets.factory import DatasetError
    broken = broken_images(image_files(imdb), record)
    try:
        imdb.leave_out(broken)
        imdb.validate()
    except DatasetError as error:
        raise UserError(f"--imdb {name}: {error}") from None
    print(imdb.summary(), flush=True)
    return broken


def check_images(imdb: Imdb, option: str, name: str, record: str | os.PathLike | None = None) -> None:
    """Decode each image once (see `prepare_to_train`). Raises UserError that names those that cannot be."""
    from datasets.decoding import broken_images
    broken = broken_images(image_files(imdb), record)
    if broken:
        raise UserError("\n".join([f"{option} {name}: images that cannot be decoded: mend or remove them", *broken]))


def image_files(imdb: Imdb) -> Sequence[str]:
    """File of each image."""
    return [imdb.image_path_at(index) for index in range(imdb.num_images)]


def use_proposals(imdb: Imdb, method: str, file: str | None) -> None:
    """Let the data set give proposals of a method, from a file for 'rpn'. Raises UserError where it cannot."""
    if method == "rpn" and not file:
        raise UserError("PROPOSAL_METHOD is rpn: give --proposals FILE (tools/rpn_generate.py writes it)")
    imdb.config["rpn_file"] = file
    try:
        imdb.set_proposal_method(method)
        len(imdb.roidb)
    except ValueError as error:
        raise UserError(f"{error} (PROPOSAL_METHOD is {method})") from None
