"""PASCAL VOC's XML in folders of other names, nested ones, and splits that are folders."""
import pytest
from folders_made import CAT, DOG, OX, write_image, xml

from datasets.factory import get_imdb
from datasets.source import DatasetError


def write(root, images, annotations, objects, suffix=".xml"):
    """Images and XML files in two folders from {name: objects}."""
    for name, rows in objects.items():
        write_image(root / images / f"{name}.png")
        file = root / annotations / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(xml(rows))
    return root


@pytest.mark.parametrize("images, annotations", [
    ("images", "annotations"), ("images", "annots"), ("images", "labels"), ("Images", "Annotations"), ("imgs", "xmls"),
    ("image", "annotation"), ("images", "annotations/xmls")])
def test_names_of_folders(tmp_path, images, annotations):
    root = write(tmp_path / "d", images, annotations, {"a": [CAT, DOG], "b": [OX]}, ".XML")
    data = get_imdb(str(root))
    assert data.name == "d_all" and data.image_index == ["a", "b"] and data.num_classes == 4
    assert data.summary().startswith("PASCAL VOC: 3 classes, 2 images, 3 boxes\n")


@pytest.mark.parametrize("images, annotations", [
    ("{}/images", "{}/annotations"), ("images/{}", "annotations/{}"), ("images/{}", "labels/{}")])
def test_splits_that_are_folders(tmp_path, images, annotations):
    root = tmp_path / "d"
    for split, objects in (("train", {"a": [CAT], "b": [DOG]}), ("valid", {"c": [DOG]})):
        write(root, images.format(split), annotations.format(split), objects)
    assert get_imdb(str(root)).image_index == ["a", "b"]
    data = get_imdb(f"{root}:val")
    assert data.image_index == ["c"] and data.classes == ("__background__", "cat", "dog")
    assert "splits: train 2, valid 1" in data.summary()
    with pytest.raises(DatasetError, match="no split 'test'; there are: train, valid"):
        get_imdb(f"{root}:test")


def test_nested_folders(tmp_path):
    root = write(tmp_path / "d", "images", "annotations", {"day/a": [CAT], "night/a": [DOG]})
    assert get_imdb(str(root)).image_index == ["day/a", "night/a"]
    topics = write(tmp_path / "e", ".", ".", {"cats/a": [CAT], "dogs/a": [DOG], "dogs/b": [DOG]})
    assert get_imdb(str(topics)).image_index == ["cats/a", "dogs/a", "dogs/b"]
    apart = write(tmp_path / "f", "annotations", "annotations", {"a": [CAT]})
    (apart / "images" / "day").mkdir(parents=True)
    (apart / "annotations" / "a.png").rename(apart / "images" / "day" / "a.png")
    assert get_imdb(str(apart)).image_path_at(0) == str(apart / "images" / "day" / "a.png")


def test_lists_beside_folders_of_other_names(tmp_path):
    root = write(tmp_path / "d", "images", "annotations", {"a": [CAT], "b": [DOG], "c": [CAT]})
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_text("a\nb\n")
    (root / "ImageSets" / "val.txt").write_text("c\n")
    assert get_imdb(str(root)).image_index == ["a", "b"] and get_imdb(f"{root}:val").image_index == ["c"]


def test_the_path_of_a_list(tmp_path):
    root = write(tmp_path / "d", "JPEGImages", "Annotations", {"a": [CAT], "b": [DOG]})
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, images in (("train", "a"), ("val", "b")):
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(f"{images}\n")
    data = get_imdb(f"{root}/ImageSets/Main/val.txt")
    assert data.image_index == ["b"] and data.classes == ("__background__", "cat") and data.name == "d_val"


def test_images_and_xml_side_by_side_beside_other_folders(tmp_path):
    root = write(tmp_path / "d", ".", ".", {"a": [CAT]})
    write(root, "labels", "labels", {"old": [DOG]})
    assert get_imdb(str(root)).image_index == ["a"]


def test_other_formats_in_a_folder_of_voc(tmp_path):
    root = write(tmp_path / "d", "JPEGImages", "Annotations", {"a": [CAT]})
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (root / "data.yaml").write_text("train: JPEGImages\nnames: [cat]\n")
    (root / "coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    assert get_imdb(str(root)).summary().startswith("PASCAL VOC: 1 classes")
