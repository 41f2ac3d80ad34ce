"""The process that prepares images for `ImagePool`, which starts it and communicates through its standard streams.

Each line of input is a request, a JSON list: the image's offset in the shared memory (in float32 values), and the
fields of an `ImageRequest`. Each is answered by one line, a JSON dictionary: `shape` (3, height, width) of the image
stored there, `scale` and `file_size`; or `error`, the text of an ImageError; or `bug`, the traceback of anything else.
The process ends with its input, that is when the parent closes it or dies for any reason. It imports no more than it
needs, so that it starts fast.
"""
from __future__ import annotations

import contextlib
import json
import mmap
import os
import sys
import traceback
from typing import Any

import cv2
import numpy as np

from utils.images import ImageError, ImageRequest, prepare_image


def main(descriptor: int) -> None:
    """Answer requests until the input ends; `descriptor` is the file of the shared memory."""
    cv2.setNumThreads(1)        # several of these processes run concurrently
    memory = np.frombuffer(mmap.mmap(descriptor, 0), np.float32)
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers, contextlib.suppress(BrokenPipeError):
        os.dup2(2, 1)           # library output must not be taken for an answer
        for line in sys.stdin.buffer:
            offset, *fields = json.loads(line)
            answers.write(json.dumps(_answer(memory[offset:], ImageRequest(*fields))).encode() + b"\n")


def _answer(memory: np.ndarray, request: ImageRequest) -> dict[str, Any]:
    try:
        image = prepare_image(request)
        planes = image.pixels.transpose(2, 0, 1)
        memory[:planes.size].reshape(planes.shape)[...] = planes
    except ImageError as error:
        return {"error": str(error)}
    except Exception:
        return {"bug": traceback.format_exc()}
    return {"shape": planes.shape, "scale": image.scale, "file_size": image.file_size}
