"""Headers of image files agree with the decoder; files that would crash it, or cost too much, are refused unread."""
import os
import struct
import zlib

import cv2
import numpy as np
import pytest

from datasets.decoding import problem_with
from datasets.image_size import ends_early, exif_orientation, image_size
from utils.draw import write_image
from utils.image_header import IMAGE_SUFFIXES, read_header, turned_boxes
from utils.images import ImageError, check_file, read_image

WIDTH, HEIGHT = 64, 40


def noise(height=HEIGHT, width=WIDTH):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def encoded(suffix, image=None):
    return cv2.imencode(suffix, noise() if image is None else image)[1].tobytes()


def exif(value, order="<", kind=3, before=b""):
    """A TIFF directory with an orientation, optionally after another entry."""
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + (struct.pack(order + "I", value) if kind == 4 else
                                                           struct.pack(order + "HH", value, 0))
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIH", 42, 8, len(before) // 12 + 1) + before + entry + bytes(4)


def jpeg(*bodies):
    """A JPEG file with these APP1 segments."""
    data = encoded(".jpg")
    return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies) + data[2:]


def png(tag, late=False):
    """A PNG file with an eXIf chunk before or after the pixels."""
    data, body = encoded(".png"), b"eXIf" + tag
    chunk, at = struct.pack(">I", len(tag)) + body + struct.pack(">I", zlib.crc32(body)), -12 if late else 33
    return data[:at] + chunk + data[at:]


E, BAD = b"Exif\0\0", struct.pack("<HHII", 0x010E, 2, 100, 99999)     # a text far outside the segment
TAGGED = {
    **{f"{order}{value}": jpeg(E + exif(value, order)) for order in "<>" for value in range(10)},
    **{f"png{value}{late}": png(exif(value), late) for late in (False, True) for value in range(10)},
    "long": jpeg(E + exif(6, ">", 4)), "after a bad entry": jpeg(E + exif(6, before=BAD)),
    "first of two": jpeg(E + exif(6), E + exif(1)), "second of two": jpeg(E + exif(1), E + exif(6)),
    "after XMP": jpeg(b"http://ns.adobe.com/xap/1.0/\0<x/>", E + exif(6)), "another mark": jpeg(b"ABCDEF" + exif(6)),
    "PNG with JPEG's mark": png(E + exif(6)), "short": jpeg(b"E"),
}


@pytest.mark.parametrize("name", TAGGED)
def test_exif_orientations(tmp_path, name):
    """Size and boxes agree with the decoder, however it interprets the tag."""
    file = tmp_path / "i"
    file.write_bytes(TAGGED[name])
    stored, read = (cv2.imread(str(file), flags) for flags in (cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
                                                               cv2.IMREAD_COLOR))
    assert image_size(file) == (read.shape[1], read.shape[0])
    x1, y1, x2, y2 = turned_boxes(np.array([[3, 2, 20, 9]]), (WIDTH, HEIGHT), exif_orientation(file))[0]
    np.testing.assert_array_equal(np.sort(read[y1:y2 + 1, x1:x2 + 1], axis=None),
                                  np.sort(stored[2:10, 3:21], axis=None))


JP2, ISPE = b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0 ftypavifispe"


@pytest.mark.parametrize("data", [
    *(b"II" + struct.pack("<HHHQ", 43, 8, 0, start) for start in (16, 2**62, 2**63, 2**64 - 1)),
    b"II" + struct.pack("<HI", 42, 2**32 - 1), b"BM" + bytes(12), b"RIFF....WEBPVP8 ", b"RIFF....WEBPVP8L", b"P7\n",
    b"P6\n",
    *(b"\xff\xd8\xff" + bytes([marker, 0, length]) * 3 for marker in (0xE1, 0xC0) for length in (0, 1)),
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a", JP2, ISPE])
def test_truncated_and_misleading_headers(tmp_path, data):
    file = tmp_path / "i"
    for length in range(len(data) + 1):
        file.write_bytes(data[:length])
        assert read_header(file) is None


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_known_format(tmp_path, suffix):
    file, image = tmp_path / f"i{suffix}", noise()
    try:
        data = encoded({".jfif": ".jpg"}.get(suffix, suffix), image[:, :, 0] if suffix in (".pgm", ".pbm") else image)
    except cv2.error:
        pytest.skip("this OpenCV cannot write it")
    file.write_bytes(data)
    assert image_size(file) == read_header(file).size == (WIDTH, HEIGHT) and problem_with(str(file)) is None


@pytest.mark.parametrize("kind", ["grey", "alpha", "16 bit", "bilevel"])
def test_kinds_of_png(tmp_path, kind):
    image = noise()
    grey = image[:, :, 0]
    image = {"grey": grey, "alpha": np.dstack([image, grey]), "bilevel": grey // 128 * 255,
             "16 bit": image.astype(np.uint16) * 257}[kind]
    file = tmp_path / "i.png"
    file.write_bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_BILEVEL, int(kind == "bilevel")])[1].tobytes())
    assert image_size(file) == (WIDTH, HEIGHT) and read_image(file).shape == (HEIGHT, WIDTH, 3)


def png_of(width, height, data=b"\0"):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


HUGE = {
    "png": png_of(32767, 32767), "gif": b"GIF89a" + struct.pack("<HH", 30000, 30000) + bytes(100),
    "bmp": b"BM" + bytes(12) + struct.pack("<Iii", 40, 30000, -30000) + bytes(100),
    "jpeg": (lambda data, at: data[:at + 5] + struct.pack(">HH", 30000, 30000) + data[at + 9:])(
        encoded(".jpg"), encoded(".jpg").index(b"\xff\xc0")),
    "ppm": b"P6 # a comment\n30000 30000 255\n" + bytes(100), "jp2": encoded(".jp2").replace(
        struct.pack(">II", HEIGHT, WIDTH), struct.pack(">II", 30000, 30000)),
}


@pytest.mark.parametrize("name", HUGE)
def test_small_files_that_claim_many_pixels_are_refused_unread(tmp_path, monkeypatch, name):
    file = tmp_path / "i"
    file.write_bytes(HUGE[name])
    monkeypatch.setattr(cv2, "imread", None)
    for read in (check_file, image_size, read_image):
        with pytest.raises(ImageError, match=f"a file of {file.stat().st_size} bytes that claims 3.* x 3.* pixels"):
            read(str(file))
    assert "that claims" in problem_with(str(file))


@pytest.mark.parametrize("name, value, message", [
    ("PIXELS", "2000", "OPENCV_IO_MAX_IMAGE_PIXELS, now 2000, raises"), ("WIDTH", "63", "MAX_IMAGE_WIDTH, now 63"),
    ("PIXELS", "1kB", "now 1024")])
def test_more_pixels_than_opencv_reads(tmp_path, monkeypatch, name, value, message):
    write_image(tmp_path / "i.jpg", noise())
    monkeypatch.setenv(f"OPENCV_IO_MAX_IMAGE_{name}", value)
    with pytest.raises(ImageError, match=f"i.jpg: 64 x 40 pixels are more than OpenCV reads.*{message}"):
        read_image(str(tmp_path / "i.jpg"))
    assert "64 x 40" in problem_with(str(tmp_path / "i.jpg"))


def test_names_that_are_not_utf8(tmp_path):
    file = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9.png")
    write_image(file, noise())
    assert os.path.getsize(file)
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match="the file's name is not UTF-8; rename it"):
            read(file)
    assert "not UTF-8" in problem_with(file)


def test_paths_that_are_not_files(tmp_path):
    (tmp_path / "d.jpg").mkdir()
    os.mkfifo(tmp_path / "f.jpg")
    for name in ("d.jpg", "f.jpg"):
        with pytest.raises(ImageError, match=f"{name}: is not a file"):
            read_image(str(tmp_path / name))


def test_twelve_bits_in_sixteen(tmp_path):
    for suffix in (".png", ".tif"):
        file = tmp_path / f"i{suffix}"
        file.write_bytes(encoded(suffix, noise().astype(np.uint16) * 16))
        assert "the highest of its 16-bit values is 4064" in problem_with(str(file))
        with pytest.raises(ImageError, match=f"i{suffix}: the highest of its 16-bit values"):
            read_image(str(file))
        for good in (noise() // 20, noise().astype(np.uint16) * 257, np.zeros((9, 9, 3), np.uint16)):
            file.write_bytes(encoded(suffix, good))
            assert problem_with(str(file)) is None


def test_a_video_appended_to_a_photograph_is_not_an_early_end(tmp_path):
    whole = jpeg(E + exif(1) + encoded(".jpg"))     # with a thumbnail, which has its own end marker
    (tmp_path / "film.jpg").write_bytes(whole + b"ftypmp42" + bytes(9000))
    (tmp_path / "cut.jpg").write_bytes(whole[:-300])
    (tmp_path / "cut long.jpg").write_bytes(whole[:-300] + bytes(9000))
    assert [ends_early(tmp_path / name) for name in ("film.jpg", "cut.jpg", "cut long.jpg")] == [False, True, True]
