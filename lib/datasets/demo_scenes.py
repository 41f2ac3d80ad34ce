"""A small synthetic data set in VOC layout: shaded objects on photo-like backgrounds.

It allows trying the whole pipeline without a download. Like real photographs, the scenes have several classes and
sizes, overlapping and truncated objects, noise, JPEG compression, and objects that are marked difficult because most
of them is hidden or outside the image.
"""
from __future__ import annotations

import colorsys
import json
import os
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np

from utils.files import naming, read_record

CLASSES = ("ball", "brick", "ring", "star")
HUES = {"ball": (130, 30), "brick": (8, 12), "ring": (215, 25), "star": (50, 12)}     # mean and spread in degrees
MIN_SIDE, MAX_SIDE = 28, 120            # pixels, of an object before it is rotated
DIFFICULT_BELOW = 0.4                   # visible fraction of an object's area


def fractal_noise(rng: np.random.Generator, height: int, width: int, octaves: int = 6) -> np.ndarray:
    """Noise with more power at coarse scales, as in photographs; (height, width, 3) float32, about 0..1."""
    image = np.zeros((height, width, 3), np.float32)
    for octave in range(octaves):
        cells = 2 ** (octave + 1)
        grid = rng.random((cells + 1, cells + 2, 3), dtype=np.float32)
        smooth = np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        image += smooth / np.float32(2 ** (octave * 0.9))
    return (image - image.min()) / (image.max() - image.min())


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A blurred, cluttered backdrop, (height, width, 3) float32 in 0..1, BGR."""
    image = fractal_noise(rng, height, width)
    for _ in range(rng.integers(3, 9)):
        corners = rng.uniform(-0.2, 1.2, (rng.integers(3, 6), 2)) * (width, height)
        layer = image.copy()
        cv2.fillPoly(layer, [corners.astype(np.int32)], rng.random(3).tolist())
        strength = rng.uniform(0.2, 0.6)
        image = (1 - strength) * image + strength * cv2.GaussianBlur(layer, (0, 0), float(rng.uniform(1, 6)))
    grey = image.mean(axis=2, keepdims=True)
    tint = rng.uniform(0.7, 1.1, 3).astype(np.float32)
    return (0.65 * grey + 0.35 * image) * tint * rng.uniform(0.6, 1.0)      # photographs are rarely colourful


def _outline(name: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Approximate signed distance to the outline in coordinates -1..1: positive inside, in units of half a side."""
    radius = np.hypot(x, y)
    if name == "ball":
        return 1 - radius
    if name == "ring":
        return 0.22 - np.abs(radius - 0.76)
    if name == "brick":
        ratio = rng.uniform(0.45, 0.65)
        return np.minimum(0.95 - np.abs(x), ratio - np.abs(y))
    angle = np.arctan2(y, x)            # star: five points between two radii
    sector = np.abs((angle / (2 * np.pi) * 5) % 1 - 0.5) * 2
    return 0.42 + 0.56 * (1 - sector) - radius


def _colour(rng: np.random.Generator, name: str) -> np.ndarray:
    """A colour typical of the class, such as red for bricks; BGR in 0..1."""
    mean, spread = HUES[name]
    hue = rng.uniform(mean - spread, mean + spread) % 360 / 360
    return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.4, 0.95), rng.uniform(0.45, 1.0))[::-1])


def draw_object(rng: np.random.Generator, name: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """One object of a class. Returns its colours (S, S, 3) and its opacity (S, S), float32 in 0..1."""
    size = int(side * 1.1) + 2
    grid = (np.mgrid[:size, :size].astype(np.float32) + 0.5 - size / 2) / (side / 2)
    turn = rng.uniform(0, 2 * np.pi) if name != "brick" else rng.uniform(-0.5, 0.5)
    x = np.cos(turn) * grid[1] + np.sin(turn) * grid[0]
    y = -np.sin(turn) * grid[1] + np.cos(turn) * grid[0]
    field = _outline(name, x, y, rng)
    light = rng.uniform(0, 2 * np.pi)
    shade = 0.75 + 0.35 * (np.cos(light) * grid[1] + np.sin(light) * grid[0])
    if name == "ball":
        shade *= 0.55 + 0.6 * np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    colours = _colour(rng, name) * shade[..., None]
    if name == "brick":                 # dark joints
        joints = (np.abs((y * 3) % 1 - 0.5) > 0.42) | (np.abs((x * 2 + np.floor(y * 3) * 0.5) % 1 - 0.5) > 0.45)
        colours[joints] *= 0.55
    colours += rng.normal(0, 0.03, colours.shape)
    opacity = np.clip(field * side / 2 + 0.5, 0, 1)
    return np.clip(colours, 0, 1).astype(np.float32), opacity.astype(np.float32)


def _paste(image, owner, number, colours, opacity, left, top) -> None:
    """Blend an object into the image and mark its pixels in `owner`; parts outside the image are clipped."""
    height, width = owner.shape
    size = opacity.shape[0]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + size, width), min(top + size, height)
    inside = np.s_[y0 - top:y1 - top, x0 - left:x1 - left]
    alpha = opacity[inside][..., None]
    region = np.s_[y0:y1, x0:x1]
    image[region] = image[region] * (1 - alpha) + colours[inside] * alpha
    owner[region][opacity[inside] > 0.5] = number


def make_scene(rng: np.random.Generator, height: int = 240, width: int = 320) -> tuple[np.ndarray, list[dict]]:
    """One image and its objects.

    Returns the image (height, width, 3) uint8 BGR, and for each object a dict with `name`, `box` (x1, y1, x2, y2,
    zero-based inclusive pixels of the visible-or-hidden shape inside the image), `truncated` and `difficult`.
    """
    image = background(rng, height, width)
    owner = np.full((height, width), -1, np.int16)
    objects: list[dict] = []
    areas: list[int] = []
    for _ in range(rng.integers(2, 7)):
        name = CLASSES[rng.integers(len(CLASSES))]
        side = int(np.exp(rng.uniform(np.log(MIN_SIDE), np.log(MAX_SIDE))))
        colours, opacity = draw_object(rng, name, side)
        size = opacity.shape[0]
        left = int(rng.integers(-size // 4, width - 3 * size // 4))
        top = int(rng.integers(-size // 4, height - 3 * size // 4))
        rows, columns = np.nonzero(opacity > 0.5)
        x, y = columns + left, rows + top
        seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        box = [int(v) for v in (x[seen].min(), y[seen].min(), x[seen].max(), y[seen].max())]
        _paste(image, owner, len(objects), colours, opacity, left, top)
        areas.append(x.size)
        objects.append({"name": name, "box": box, "truncated": bool(seen.mean() < 0.95)})
    for number, entry in enumerate(objects):
        entry["difficult"] = bool((owner == number).sum() < DIFFICULT_BELOW * areas[number])
    image = cv2.GaussianBlur(image, (0, 0), 0.6) + rng.normal(0, 0.02, image.shape)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), objects


def annotation_xml(file_name: str, image: np.ndarray, objects: list[dict]) -> str:
    """The text of a VOC annotation; its coordinates count from 1."""
    height, width, depth = image.shape
    lines = ["<annotation>", f"  <filename>{escape(file_name)}</filename>",
             f"  <size><width>{width}</width><height>{height}</height><depth>{depth}</depth></size>"]
    for entry in objects:
        corners = "".join(f"<{tag}>{value + 1}</{tag}>"
                          for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), entry["box"], strict=True))
        lines.append(f"  <object><name>{entry['name']}</name><truncated>{entry['truncated']:d}</truncated>"
                     f"<difficult>{entry['difficult']:d}</difficult><bndbox>{corners}</bndbox></object>")
    return "\n".join([*lines, "</annotation>", ""])


def make_demo_dataset(folder: str | os.PathLike, num_train: int = 240, num_test: int = 60, seed: int = 0) -> Path:
    """Write the data set into `folder`: Annotations, JPEGImages, ImageSets/Main/{trainval,test}.txt.

    A folder that already holds this data set is left as it is; a new one is written atomically.
    Raises FileExistsError if the folder holds anything else, such as a demo data set of another recipe.
    """
    folder = Path(folder)
    recipe = {"num_train": num_train, "num_test": num_test, "seed": seed, "version": 2}
    stamp = folder / "demo.json"
    if stamp.is_file():
        found = read_record(stamp, "give another folder, or remove this one")
        if found == recipe:
            return folder
        raise FileExistsError(f"{folder} holds a demo data set of another recipe, {found} instead of {recipe}; give "
                              "another folder, or remove this one")
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is neither an empty folder nor a demo data set; give another folder")
    target = Path(os.path.realpath(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as partial:
        _write(Path(partial, "data"), recipe)
        Path(partial, "data").rename(target)        # replaces an empty folder at most
    return folder


def _write(folder: Path, recipe: dict[str, int]) -> None:
    """Write a data set into a new folder."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    num_train = recipe["num_train"]
    for split, count, first in (("trainval", num_train, 0), ("test", recipe["num_test"], num_train)):
        names = [f"scene_{first + i:05d}" for i in range(count)]
        for offset, name in enumerate(names):
            image, objects = make_scene(np.random.default_rng([recipe["seed"], first + offset]))
            jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            _write_file(folder / "JPEGImages" / f"{name}.jpg", jpeg.tobytes())
            _write_file(folder / "Annotations" / f"{name}.xml",
                        annotation_xml(f"{name}.jpg", image, objects).encode())
        _write_file(folder / "ImageSets" / "Main" / f"{split}.txt", ("\n".join(names) + "\n").encode())
    _write_file(folder / "demo.json", json.dumps(recipe).encode())


def _write_file(path: Path, content: bytes) -> None:
    with naming(path):
        path.write_bytes(content)
