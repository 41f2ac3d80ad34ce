"""Reads videos and cameras, and writes videos, with OpenCV."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from utils.errors import UserError
from utils.text import is_utf8

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
_CODEC = "mp4v"
_USUAL_RATE = 25.0      # frames per second, if a camera does not report it


class VideoError(UserError):
    """A video or camera cannot be read, or a video cannot be written."""


@contextlib.contextmanager
def open_video(source: str | os.PathLike | int) -> Iterator[cv2.VideoCapture]:
    """Open a file, or the camera with this number, as a cv2.VideoCapture. Raises VideoError if it cannot be read."""
    if isinstance(source, int):
        what, capture = f"camera {source}", cv2.VideoCapture(source)
    else:
        if not is_utf8(os.fspath(source)):      # OpenCV would crash
            raise VideoError(f"{source}: the file's name is not UTF-8; rename it")
        if not Path(source).is_file():
            raise VideoError(f"{source}: there is no such video")
        what, capture = f"{source}", cv2.VideoCapture(os.fspath(source))
    try:
        if not capture.isOpened():
            raise VideoError(f"{what}: OpenCV cannot open it as a video or camera")
        yield capture
    finally:
        capture.release()


def frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """The frames (height, width, 3) uint8 BGR of a cv2.VideoCapture."""
    while True:
        found, frame = capture.read()
        if not found:
            return
        yield frame


def frame_rate(capture: cv2.VideoCapture) -> float:
    """Frames per second of a cv2.VideoCapture."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= 1000 else _USUAL_RATE


@contextlib.contextmanager
def video_writer(path: Path, rate: float, name: str) -> Iterator[Callable[[np.ndarray], None]]:
    """Return a function that appends a frame to an MP4 file; all frames must have the size of the first.

    name  of the file in messages
    Raises VideoError if OpenCV cannot write it.
    """
    writer = cv2.VideoWriter()

    def write(frame: np.ndarray) -> None:
        height, width = frame.shape[:2]
        if not writer.isOpened() and not writer.open(str(path), cv2.VideoWriter.fourcc(*_CODEC), rate, (width, height)):
            raise VideoError(f"{name}: this OpenCV cannot write MP4 videos of {width} x {height} pixels")
        writer.write(np.ascontiguousarray(frame))

    try:
        yield write
    finally:
        writer.release()
