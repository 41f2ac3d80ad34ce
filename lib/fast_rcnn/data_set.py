"""Finding the data set of a run, and looking it through before training."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from fast_rcnn.cli import UserError


def find_imdb(name: str) -> Any:
    """The data set of this name or path. Raises UserError that says how to get it."""
    from datasets.factory import DatasetError, get_imdb
    try:
        return get_imdb(name)
    except (DatasetError, FileNotFoundError) as error:
        hint = "; to fetch it: data/scripts/fetch_voc2007.sh" if name.startswith("voc_2007") else ""
        raise UserError(f"--imdb {name}: {error}{hint}") from None


def load_imdb(name: str) -> Any:
    """`find_imdb`, and the data set is described on the standard output."""
    imdb = find_imdb(name)
    print(imdb.summary(), flush=True)
    return imdb


def prepare_to_train(imdb: Any, name: str, record: str | os.PathLike | None = None) -> list[str]:
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


def check_images(imdb: Any, option: str, name: str, record: str | os.PathLike | None = None) -> None:
    """Decode each image once (see `prepare_to_train`). Raises UserError that names those that cannot be."""
    from datasets.decoding import broken_images
    broken = broken_images(image_files(imdb), record)
    if broken:
        raise UserError("\n".join([f"{option} {name}: images that cannot be decoded: mend or remove them", *broken]))


def image_files(imdb: Any) -> Sequence[str]:
    """File of each image."""
    return [imdb.image_path_at(index) for index in range(imdb.num_images)]


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
