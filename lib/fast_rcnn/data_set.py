"""Finding the data set of a run."""
from __future__ import annotations

from typing import Any

from fast_rcnn.cli import UserError


def load_imdb(name: str) -> Any:
    """The data set of this name or path. Raises UserError that says how to get it."""
    from datasets.factory import DatasetError, get_imdb
    try:
        imdb = get_imdb(name)
    except (DatasetError, FileNotFoundError) as error:
        hint = ". To fetch it: data/scripts/fetch_voc2007.sh" if name.startswith("voc_2007") else ""
        raise UserError(f"data set {name}: {error}{hint}") from None
    if hasattr(imdb, "summary"):
        print(imdb.summary(), flush=True)
    return imdb
