"""Finding the data set of a run."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from fast_rcnn.cli import UserError


def load_imdb(name: str, to_train: bool = False, option: str = "--imdb") -> Any:
    """The data set of this name or path, which is described on the standard output.

    Raises UserError that says how to get it, or with `to_train` that it has nothing to train on; `option` is the one
    that gave the name.
    """
    from datasets.factory import DatasetError, get_imdb
    try:
        imdb = get_imdb(name)
        if to_train:
            imdb.validate()
    except (DatasetError, FileNotFoundError) as error:
        raise UserError(f"{option} {name}: {error}") from None
    if hasattr(imdb, "summary"):
        print(imdb.summary(), flush=True)
    return imdb


def load_inputs(imdb: str, weights: Path | None, test_imdb: str | None = None) -> Any:
    """The data set to train on. Raises one UserError for all that is missing: data sets and initial weights."""
    problems, found = [], {}
    options = {imdb: "--imdb"}
    if test_imdb:
        options.setdefault(test_imdb, "--test_imdb")
    for name, option in options.items():
        try:
            found[name] = load_imdb(name, option=option)
        except UserError as error:
            problems.append(str(error))
    if weights and not weights.is_file():
        problems.append(f"weights: there is no file {weights}. {_how_to_get(weights)}. --weights FILE names another "
                        "caffemodel, --weights none trains from random weights")
    if problems:
        raise UserError("something is missing:\n" + "\n".join(f"- {problem}" for problem in problems))
    return found[imdb]


def _how_to_get(weights: Path) -> str:
    """The way to weights from ImageNet, by the net's name in that of their file."""
    for net in ("VGG_CNN_M_1024", "ZF"):
        if weights.name.startswith(f"{net}."):
            return (f"{net}'s have no public address any more: put py-faster-rcnn's imagenet_models.tgz into data/, "
                    "and data/scripts/fetch_imagenet_models.sh unpacks it")
    return ("VGG16: data/scripts/fetch_imagenet_models.sh, or make it from torchvision's weights with "
            "tools/convert_weights.py; other nets: data/README.md")


def use_proposals(imdb: Any, method: str, file: str | None) -> None:
    """Let the data set give proposals of a method, from a file for 'rpn'. Raises UserError where it cannot."""
    if method == "rpn" and not file:
        raise UserError("PROPOSAL_METHOD is rpn: give --proposals FILE (tools/rpn_generate.py writes it)")
    imdb.config["rpn_file"] = file
    try:
        imdb.set_proposal_method(method)
        len(imdb.roidb)
    except ValueError as error:
        raise UserError(f"{error} (PROPOSAL_METHOD is {method})") from None
