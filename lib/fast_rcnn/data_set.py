"""Finding the data set of a run."""
from __future__ import annotations

from typing import Any

from fast_rcnn.cli import UserError


def load_imdb(name: str, to_train: bool = False) -> Any:
    """The data set of this name or path, which is described on the standard output.

    Raises UserError that says how to get it, or with `to_train` that it has nothing to train on.
    """
    from datasets.factory import DatasetError, get_imdb
    try:
        imdb = get_imdb(name)
        if to_train:
            imdb.validate()
    except (DatasetError, FileNotFoundError) as error:
        hint = "; to fetch it: data/scripts/fetch_voc2007.sh" if name.startswith("voc_2007") else ""
        raise UserError(f"--imdb {name}: {error}{hint}") from None
    if hasattr(imdb, "summary"):
        print(imdb.summary(), flush=True)
    return imdb


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
