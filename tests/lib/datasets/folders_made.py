"""Writes data sets in VOC's XML for tests."""
import cv2
import numpy as np

WIDTH, HEIGHT = 60, 40
CAT, DOG, OX = ("cat", 1, 1, 20, 30), ("dog", 5, 6, 60, 40), ("ox", 30, 2, 50, 38)


def xml(objects, size=(WIDTH, HEIGHT)):
    """Annotation text of (name, xmin, ymin, xmax, ymax[, difficult]) rows."""
    body = "".join(f"<object><name>{name}</name><difficult>{(*rest, 0)[0]}</difficult><bndbox><xmin>{x1}</xmin>"
                   f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
                   for name, x1, y1, x2, y2, *rest in objects)
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{body}</annotation>"


def write_image(path, width=WIDTH, height=HEIGHT):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def write_split(root, images, labels, files, ending=".jpg"):
    """Images and label files in two folders of `root` from {name: text, or None for no label file}; returns `root`."""
    for name, text in files.items():
        write_image(root / images / f"{name}{ending}")
        if text is not None:
            (root / labels).mkdir(parents=True, exist_ok=True)
            (root / labels / f"{name}.txt").write_text(text)
    return root


def voc_folder(root, images, splits):
    """A data set in VOC layout from {name: objects or XML text} and {split: names}."""
    for name, content in images.items():
        write_image(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(content if isinstance(content, str) else xml(content))
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def flat_folder(root, images):
    for name, content in images.items():
        write_image(root / f"{name}.png")
        (root / f"{name}.xml").write_text(xml(content))
    return root
