"""Safe reading of HDF5 files: rejects links to other files and datasets that would fill the memory."""
from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Iterator
from typing import Any

from ...errors import WireError
from .. import device

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ALWAYS_READ = 1 << 28          # bytes
_MOST_EXPANDED = 1000           # times the file's size; its compression reaches this with zeros
_MOST_LINKS = 32                # in a chain


def is_hdf5(path: str | os.PathLike) -> bool:
    """Whether a file starts with HDF5's signature."""
    with open(path, "rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


@contextlib.contextmanager
def hdf5_file(path: str | os.PathLike) -> Iterator[Any]:
    """Open an HDF5 file for reading, as an h5py.File.

    Raises WireError for a damaged file, also while reading inside the block. A missing file raises OSError.
    """
    import h5py  # here, because importing it takes longer than loading most nets
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if not os.path.exists(path):
            raise
        raise WireError(f"{path}: HDF5 cannot open this file; is it cut short? ({error})") from None
    with file:
        try:
            yield file
        except WireError as error:
            raise WireError(f"{path}: {error}") from None
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:       # h5py's, for damaged files
            raise WireError(f"{path}: this HDF5 file is damaged ({error})") from None


def member(group: Any, name: str, followed: int = 0) -> Any:
    """The group or dataset at a path in a group, None if it is missing. Raises WireError for links to other files."""
    import h5py
    for part in filter(None, name.split("/")):
        if not isinstance(group, h5py.Group) or part not in group and not group.get(part, getlink=True):
            return None
        link = group.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise WireError(f"'{part}' is a link to another file, {link.filename}, which is not followed: copy the "
                            "data into this file")
        if not isinstance(link, h5py.SoftLink):
            group = group[part]
        elif followed == _MOST_LINKS:
            raise WireError(f"'{part}' is a link that leads to itself")
        else:
            group = member(group.file if link.path.startswith("/") else group, link.path, followed + 1)
    return group


def check_datasets(path: str | os.PathLike, datasets: Collection[Any]) -> None:
    """Raise WireError for datasets stored in other files, without numbers, or far larger in memory than on disk."""
    import h5py
    for dataset in datasets:
        if not isinstance(dataset, h5py.Dataset):
            raise WireError(f"'{dataset.name}' is a group, expected a dataset")
        if dataset.external or dataset.is_virtual:
            raise WireError(f"dataset '{dataset.name}' is stored in other files, which are not read: copy the data "
                            "into this file")
        if dataset.shape is None or dataset.dtype.kind not in "iufb":
            raise WireError(f"dataset '{dataset.name}' holds no numbers, found {dataset.dtype}")
    needed = sum(max(4, dataset.dtype.itemsize) * max(dataset.size, math.prod(dataset.chunks or ()))
                 for dataset in datasets)
    size = os.path.getsize(path)
    if needed > max(_ALWAYS_READ, _MOST_EXPANDED * size):
        raise WireError(f"{size} bytes that expand to {needed}: damaged, or not meant to be read")
    if needed > device.memory_size():
        raise WireError(f"its datasets take {needed} bytes, this machine has {device.memory_size()}: split the file")
