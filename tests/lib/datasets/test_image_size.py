"""Sizes of images from the first bytes of their files, and broken files."""
import cv2
import numpy as np
import pytest
from folders_made import write_image

from datasets.image_size import ends_early, image_size


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_image_sizes(tmp_path, suffix):
    write_image(tmp_path / f"i{suffix}", 37, 23)
    assert image_size(tmp_path / f"i{suffix}") == (37, 23) and not ends_early(tmp_path / f"i{suffix}")


@pytest.mark.parametrize("order, orientation", [("II", 6), ("MM", 8), ("II", 1), ("MM", 3)])
def test_image_size_is_that_of_the_rotated_image(tmp_path, order, orientation):
    write_image(tmp_path / "i.jpg", 37, 23)
    kind = "<" if order == "II" else ">"
    tiff = order.encode() + np.array([42], kind + "u2").tobytes() + np.array([8], kind + "u4").tobytes()
    tiff += np.array([1, 0x0112, 3], kind + "u2").tobytes() + np.array([1], kind + "u4").tobytes()
    tiff += np.array([orientation, 0], kind + "u2").tobytes() + bytes(4)
    body = b"Exif\0\0" + tiff
    data = (tmp_path / "i.jpg").read_bytes()
    (tmp_path / "i.jpg").write_bytes(data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:])
    height, width = cv2.imread(str(tmp_path / "i.jpg")).shape[:2]
    assert image_size(tmp_path / "i.jpg") == (width, height)


def test_broken_images(tmp_path):
    write_image(tmp_path / "i.jpg")
    data = (tmp_path / "i.jpg").read_bytes()
    for content in (b"", b"text", data[:2], data[:60]):
        (tmp_path / "b.jpg").write_bytes(content)
        with pytest.raises(ValueError, match="b.jpg: not an image"):
            image_size(tmp_path / "b.jpg")
    (tmp_path / "i.jpg").write_bytes(data[:-40])
    assert ends_early(tmp_path / "i.jpg")
