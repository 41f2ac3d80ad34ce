"""CVAT's XML for images: shapes, subsets, videos, files that cannot be used."""
import numpy as np
import pytest
from folders_made import write_image

from datasets.factory import get_imdb
from datasets.source import DatasetError

SHAPES = """<box label="cat" source="manual" occluded="0" xtl="1.50" ytl="2.00" xbr="20.50" ybr="30.00" z_order="0"/>
<polygon label="dog" source="manual" occluded="0" points="10.00,10.00;30.00,5.00;20.00,40.00" z_order="0"></polygon>
<box label="dog" occluded="1" xtl="20.00" ytl="10.00" xbr="40.00" ybr="20.00" rotation="90.00" z_order="0">
  <attribute name="difficult">true</attribute><attribute name="colour">red</attribute></box>
<ellipse label="cat" cx="30.00" cy="20.00" rx="5.00" ry="3.00" z_order="0"/>
<mask label="cat" rle="1, 2" left="4" top="5" width="6" height="7" z_order="0"/>
<polyline label="dog" points="1.00,1.00;2.00,2.00" z_order="0"/><points label="dog" points="1.00,1.00" z_order="0"/>"""


def write(root, images, name="annotations.xml"):
    """A file from (attributes, shapes) of images."""
    body = "".join(f'<image id="{k}" {attributes} width="60" height="40">{shapes}</image>'
                   for k, (attributes, shapes) in enumerate(images))
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version><meta><task>'
                             f"<size>2</size><labels><label><name>cat</name></label></labels></task></meta>{body}"
                             "</annotations>\n")
    return root


def test_shapes(tmp_path):
    write_image(tmp_path / "d" / "images" / "day" / "a.jpg")
    root = write(tmp_path / "d", [('name="day/a.jpg"', SHAPES)])
    for name in (root, root / "annotations.xml"):
        data = get_imdb(str(name))
        assert data.name == "d_all" and data.image_index == ["a"] and data.zero_based
        entry = data.gt_roidb()[0]
        assert entry["boxes"].tolist() == [[1.5, 2, 19.5, 29], [10, 5, 29, 39], [25, 17, 34, 22], [4, 5, 9, 11]]
        np.testing.assert_allclose(entry["ignored"], [[25, 5, 34, 24]], atol=1e-5)
    assert data.summary().startswith("CVAT: 2 classes, 1 images, 5 boxes\n")
    assert "1 shapes are a polyline, not objects" in data.summary() and "1 shapes are a points" in data.summary()


def test_subsets_are_splits(tmp_path):
    for split, name in (("Train", "a"), ("Validation", "b")):
        write_image(tmp_path / "d" / "images" / split / f"{name}.jpg")
    box = '<box label="cat" xtl="1" ytl="2" xbr="9" ybr="9"/>'
    root = write(tmp_path / "d", [('name="a.jpg" subset="Train" task_id="1"', box),
                                  ('name="b.jpg" subset="Validation"', "")])
    assert get_imdb(str(root)).image_index == ["a"]
    data = get_imdb(f"{root}:val")
    assert data.image_index == ["b"] and data.classes == ("__background__", "cat")
    assert "splits: Train 1, Validation 1" in data.summary()


@pytest.mark.parametrize("shape, message", [
    ('<box label="cat" xtl="1" ytl="2" xbr="9"/>', "shape 1 of b.jpg: <box>: no ybr"),
    ('<box label="cat" xtl="1" ytl="2" xbr="9" ybr="x"/>', "could not convert string to float: 'x'"),
    ('<box xtl="1" ytl="2" xbr="9" ybr="9"/>', "no label"),
    ('<polygon label="cat" points="1,2;3"/>', "shape 1 of b.jpg"),
    ('<blob label="cat"/>', "<blob>: expected one of box, polygon, ellipse, mask"),
    ('<box label="cat" xtl="1" ytl="2" xbr="9" ybr="nan"/>', "not finite numbers")])
def test_shapes_that_cannot_be_used(tmp_path, shape, message):
    for name in "ab":
        write_image(tmp_path / "d" / f"{name}.jpg")
    root = write(tmp_path / "d", [('name="a.jpg"', '<box label="cat" xtl="1" ytl="2" xbr="9" ybr="9"/>'),
                                  ('name="b.jpg"', shape)])
    data = get_imdb(str(root))
    assert data.image_index == ["a"] and message in data.summary()


@pytest.mark.parametrize("body, message", [
    ('<track id="0" label="cat"><box frame="0"/></track>', "has tracks of a video; export it as CVAT for images"),
    ("", "has no <image>"), ("<image", "not readable as XML")])
def test_files_that_cannot_be_used(tmp_path, body, message):
    (tmp_path / "annotations.xml").write_text(f"<annotations>{body}</annotations>")
    with pytest.raises(DatasetError, match=f"annotations.xml: {message}"):
        get_imdb(str(tmp_path))


def test_cat_and_dog(shared_data):
    data = get_imdb(f"{shared_data}/formats/cvat")
    assert data.image_index == ["cat", "dog"] and data.classes[1:] == ("dog",)
    assert "1 shapes are a polyline, not objects" in data.summary()
