"""Images embedded in LabelMe's JSON files; the path of such an image is that of the JSON file."""
from __future__ import annotations

import base64
import io
import os
from typing import BinaryIO

from utils.blob import ImageError
from utils.text import TextError, load_json

_ENDINGS = {b"\x89PNG": ".png", b"BM": ".bmp", b"GIF8": ".gif", b"RIFF": ".webp", b"II*\0": ".tif", b"MM\0*": ".tif"}


def is_embedding(path: str | os.PathLike) -> bool:
    """Whether the path is that of an image embedded in a JSON file."""
    return os.fspath(path).lower().endswith(".json")


def embedded_image(path: str | os.PathLike) -> bytes:
    """The bytes of the image embedded in a LabelMe file. Raises ImageError with the path, and OSError."""
    try:
        return base64.b64decode(load_json(path)["imageData"])
    except (KeyError, TypeError):
        raise ImageError(f"{path}: embeds no image: there is no imageData") from None
    except TextError as error:
        raise ImageError(str(error)) from None
    except ValueError as error:
        raise ImageError(f"{path}: the image that it embeds, imageData, cannot be read: {error}") from None


def open_image(path: str | os.PathLike) -> BinaryIO:
    """Open an image file, or an embedded image, for reading. Raises as `embedded_image`."""
    return io.BytesIO(embedded_image(path)) if is_embedding(path) else open(path, "rb")


def ending_of(path: str | os.PathLike) -> str:
    """The suffix of an image file; for an embedded image it follows from the first bytes, .jpg if they are unknown."""
    if not is_embedding(path):
        return os.path.splitext(path)[1]
    data = embedded_image(path)
    return next((ending for start, ending in _ENDINGS.items() if data.startswith(start)), ".jpg")
