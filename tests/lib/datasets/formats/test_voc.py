"""PASCAL VOC's XML: layouts, descriptions, annotation files, coordinates, on synthetic and real data sets."""
import numpy as np
import pytest
from folders_made import CAT, OX, flat_folder, voc_folder, xml

from datasets.factory import get_imdb
from datasets.folders import read_image_set
from datasets.formats import find_source
from datasets.formats.voc.annotation import read_annotation
from datasets.source import AnnotationError, DatasetError


def test_voc_layout_with_and_without_split(pets):
    train, test = get_imdb(str(pets)), get_imdb(f"{pets}:test")
    assert train.name == "pets_train" and train.image_index == ["a", "b 1"] and test.image_index == ["c"]
    assert train.classes == test.classes == ("__background__", "cat", "dog")
    assert train.gt_roidb()[0]["boxes"].tolist() == [[0, 0, 19, 29], [4, 5, 59, 39]]
    assert train.gt_roidb()[0]["boxes"].dtype == np.float32
    assert train.gt_roidb()[0]["gt_classes"].tolist() == [1, 2]
    assert "coordinates count from 1" in train.summary()


def test_folder_of_images_and_xml_side_by_side(tmp_path):
    flat_folder(tmp_path / "train", {"a": [CAT, OX]})
    flat_folder(tmp_path / "test", {"z": [OX]})
    for name in (f"{tmp_path}:test", str(tmp_path / "test")):
        data = get_imdb(name)
        assert data.image_index == ["z"] and data.classes == ("__background__", "cat", "ox")
    assert get_imdb(str(tmp_path / "train")).image_path_at(0) == str(tmp_path / "train" / "a.png")
    assert get_imdb(str(tmp_path)).image_index == ["a"]
    alone = flat_folder(tmp_path / "alone" / "photos", {"q": [CAT]})
    assert get_imdb(str(alone)).name == "photos_all"


def test_splits_in_subfolders(tmp_path):
    flat_folder(tmp_path / "boards" / "images" / "train", {"a": [CAT]})
    flat_folder(tmp_path / "boards" / "images" / "test", {"z": [CAT]})
    for name in ("boards", "boards/images", "boards:train", "boards/images/train"):
        data = get_imdb(f"{tmp_path}/{name}")
        assert data.name == "boards_train" and data.image_index == ["a"]
    assert get_imdb(f"{tmp_path}/boards:test").image_index == ["z"]
    flat_folder(tmp_path / "boards" / "more" / "train", {"b": [CAT]})
    with pytest.raises(DatasetError, match="several data sets; name one of .*boards/images, .*boards/more"):
        get_imdb(f"{tmp_path}/boards:train")


@pytest.mark.parametrize("line, message", [
    ("image_sets: train.txt", "image_sets: expected splits and the files that list their images"),
    ("image_sets: {train: [a, b]}", "image_sets, train: expected the name of a file that lists the images"),
    ("root: [a]", r"root: expected a text; found \['a'\]"),
    ("images: true", "images: expected a text; found True"),
    ("annotations: {a: b}", "annotations: expected a text"),
    ("classes: 5", "classes: expected a list of names"), ("classes: []", "classes: expected a list of names"),
    ("classes: RBC", "classes: expected a list of names, .*found 'RBC'"),
    ("classes: [cat, no]", "classes, entry 2: expected a text; found False"),
    ("zero_based: maybe", "zero_based: expected true or false; found 'maybe'"),
    ("use_difficult: 1", "use_difficult: expected true or false; found 1"),
    ("- a", "unknown keys"), ("a: {", "not readable as YAML"),
])
def test_wrong_types_in_a_yaml_file_are_named(tmp_path, line, message):
    (tmp_path / "own.yml").write_text(line + "\n")
    with pytest.raises(DatasetError, match=f"own.yml: {message}"):
        get_imdb(f"{tmp_path}/own.yml:train")


def test_yaml_file(tmp_path, pets):
    file = tmp_path / "own.yml"
    file.write_text("root: pets\nimage_sets: {train: ImageSets/Main/train.txt, test: ImageSets/Main/test.txt}\n"
                    "classes: [ox, cat]\nzero_based: true\n")
    data = get_imdb(f"{file}:test")
    assert data.name == "own_test" and data.classes == ("__background__", "ox", "cat")
    assert data.gt_roidb()[0]["boxes"].tolist() == [[1, 1, 20, 30], [30, 2, 50, 38]]
    file.write_text("root: pets\nclasses: [0402, 2.50, 2020-01-01]\n")
    assert get_imdb(str(file)).classes[1:] == ("0402", "2.50", "2020-01-01")
    file.write_text("imges: JPEGImages\n")
    with pytest.raises(DatasetError, match="imges"):
        get_imdb(str(file))


@pytest.mark.parametrize("name, message", [
    ("nowhere", "no such folder"), ("pets:val", "no split 'val'; there are: test, train"), ("empty", "expected"),
])
def test_missing_files_are_reported(tmp_path, pets, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=message):
        get_imdb(str(tmp_path / name))


def test_zero_based_coordinates_are_detected(tmp_path):
    """One zero anywhere in the data set, in any split, decides for all of it."""
    root = voc_folder(tmp_path / "z", {"a": [("cat", 3, 4, 59, 39)], "b": [("cat", 0, 2, 10, 11)]},
                      {"train": ["a"], "test": ["b"]})
    train = get_imdb(f"{root}:train")
    assert train.zero_based and train.gt_roidb()[0]["boxes"].tolist() == [[3, 4, 59, 39]]
    assert get_imdb(f"{root}:test").gt_roidb()[0]["boxes"].tolist() == [[0, 2, 10, 11]]
    assert "coordinates count from 0" in train.summary()


def test_lists_of_images(tmp_path):
    (tmp_path / "set.txt").write_text("a.jpg\nb 1\n\nc  -1\nd 0\n")
    assert read_image_set(tmp_path / "set.txt", {"a", "b 1", "d"}) == ["a", "b 1", "c", "d"]


def test_malformed_annotations(tmp_path):
    file = tmp_path / "x.xml"
    for text, message in [("<annotation><object><name>a</name></object></annotation>", "no bndbox"),
                          (xml([("", 1, 2, 3, 4)]), "<object> has no <name>"),
                          (xml([("a", "nan", 2, 3, 4)]), "not finite")]:
        file.write_text(text)
        with pytest.raises(AnnotationError, match=f"x.xml: .*{message}"):
            read_annotation(file)
    file.write_text(xml([(" My Class ", 1, 2, 3, 4)], size=(0, 0)))
    assert read_annotation(file).names == ["My Class"] and read_annotation(file).size is None


def test_bccd(shared_data):
    train, test = get_imdb(f"{shared_data}/BCCD:trainval"), get_imdb(f"{shared_data}/BCCD:test")
    assert train.classes == test.classes == ("__background__", "Platelets", "RBC", "WBC")
    assert (train.num_images, test.num_images) == (292, 72) and not train.zero_based
    assert sum(len(entry["boxes"]) for data in (train, test) for entry in data.gt_roidb()) == 4886
    assert [(p.image, p.action) for p in train.validate()] == [("BloodImage_00338", "box dropped"),
                                                               ("BloodImage_00343", "box dropped")]


def test_microcontrollers(shared_data):
    data = get_imdb(f"{shared_data}/microcontrollers/images/train")
    assert data.num_images == 142 and data.validate() == []
    assert data.classes[1:] == ("Arduino_Nano", "ESP8266", "Heltec_ESP32_Lora", "Raspberry_Pi_3")
    assert set(data.image_sizes()) == {(800, 600)}
    assert get_imdb(f"{shared_data}/microcontrollers").name == data.name == "microcontrollers_train"
    assert find_source(shared_data / "microcontrollers" / "images", "test").index[0].startswith("IMG_2018")
