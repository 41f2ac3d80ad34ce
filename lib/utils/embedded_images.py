"""Images that LabelMe's JSON files embed: their path is that of the JSON file."""
from __future__ import annotations

import base64
import io
import os
from typing import BinaryIO

from utils.blob import ImageError
from utils.text import TextError, load_json

_ENDINGS = {b"\x89PNG": ".png", b"BM": ".bmp", b"GIF8": ".gif", b"RIFF": ".webp", b"II*\0": ".tif", b"MM\0*": ".tif"}


def is_embedding(path: str | os.PathLike) -> bool:
    """Whether the image of this path is one that a JSON file embeds."""
    return os.fspath(path).lower().endswith(".json")


def embedded_image(path: str | os.PathLike) -> bytes:
    """The content of the image file that a LabelMe file embeds. Raises ImageError with the path, and OSError."""
    try:
        return base64.b64decode(load_json(path)["imageData"])
    except (KeyError, TypeError):
        raise ImageError(f"{path}: embeds no image: there is no imageData") from None
    except TextError as error:
        raise ImageError(str(error)) from None
    except ValueError as error:
        raise ImageError(f"{path}: the image that it embeds, imageData, cannot be read: {error}") from None


def open_image(path: str | os.PathLike) -> BinaryIO:
    """An image file, or the image that a LabelMe file embeds, opened to read. Raises as `embedded_image`."""
    return io.BytesIO(embedded_image(path)) if is_embedding(path) else open(path, "rb")


def ending_of(path: str | os.PathLike) -> str:
    """The ending of an image file; that of an embedded image by its first bytes, .jpg if they are not known."""
    if not is_embedding(path):
        return os.path.splitext(path)[1]
    data = embedded_image(path)
    return next((ending for start, ending in _ENDINGS.items() if data.startswith(start)), ".jpg")
