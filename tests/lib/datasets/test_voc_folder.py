"""Data sets of one's own: layouts, coordinates, checks, joining, proposals."""
import tracemalloc

import cv2
import numpy as np
import pytest
import scipy.sparse

from datasets.factory import get_imdb, register
from datasets.folders import read_image_set
from datasets.formats import find_source
from datasets.formats.voc.annotation import read_annotation
from datasets.image_size import ends_early, image_size
from datasets.imdb import imdb
from datasets.joined import JoinedImdb
from datasets.source import AnnotationError, DatasetError
from roi_data_layer.roidb import prepare_roidb
from rpn.generate import save_proposals

WIDTH, HEIGHT = 60, 40


def xml(objects, size=(WIDTH, HEIGHT)):
    """Annotation text of (name, xmin, ymin, xmax, ymax[, difficult]) rows."""
    body = "".join(f"<object><name>{name}</name><difficult>{(*rest, 0)[0]}</difficult><bndbox><xmin>{x1}</xmin>"
                   f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
                   for name, x1, y1, x2, y2, *rest in objects)
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{body}</annotation>"


def write_image(path, width=WIDTH, height=HEIGHT):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


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


CAT, DOG, OX = ("cat", 1, 1, 20, 30), ("dog", 5, 6, 60, 40), ("ox", 30, 2, 50, 38)


@pytest.fixture
def pets(tmp_path):
    """Three images; 'dog' only in the training split, 'ox' only in the test split."""
    return voc_folder(tmp_path / "pets", {"a": [CAT, DOG], "b 1": [DOG], "c": [CAT, OX]},
                      {"train": ["a", "b 1"], "test": ["c"]})


def test_voc_layout_with_and_without_split(pets):
    train, test = get_imdb(str(pets)), get_imdb(f"{pets}:test")
    assert train.name == "pets_train" and train.image_index == ["a", "b 1"] and test.image_index == ["c"]
    assert train.classes == test.classes == ("__background__", "cat", "dog")
    assert train.gt_roidb()[0]["boxes"].tolist() == [[0, 0, 19, 29], [4, 5, 59, 39]]
    assert train.gt_roidb()[0]["boxes"].dtype == np.float32
    assert train.gt_roidb()[0]["gt_classes"].tolist() == [1, 2]
    assert "coordinates count from 1" in train.summary()


def test_a_class_the_training_split_lacks_is_dropped_by_name(pets):
    test = get_imdb(f"{pets}:test")
    (problem,) = test.validate()
    assert (problem.image, problem.action) == ("c", "box dropped") and "'ox'" in problem.what
    assert get_imdb(f"{pets}:test", classes=["__background__", "cat", "ox"]).validate() == []


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


def test_splits_one_folder_further_down(tmp_path):
    flat_folder(tmp_path / "boards" / "images" / "train", {"a": [CAT]})
    flat_folder(tmp_path / "boards" / "images" / "test", {"z": [CAT]})
    for name in ("boards", "boards/images", "boards:train", "boards/images/train"):
        data = get_imdb(f"{tmp_path}/{name}")
        assert data.name == "boards_train" and data.image_index == ["a"]
    assert get_imdb(f"{tmp_path}/boards:test").image_index == ["z"]
    flat_folder(tmp_path / "boards" / "more" / "train", {"b": [CAT]})
    with pytest.raises(DatasetError, match="several data sets; name one of .*boards/images, .*boards/more"):
        get_imdb(f"{tmp_path}/boards:train")


def test_class_names_may_differ_in_case(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [("Cat", 1, 1, 20, 30), CAT], "b": [CAT, ("DOG", 5, 6, 60, 40)]},
                      {"train": ["a", "b"]})
    data = get_imdb(str(root))
    assert data.classes[1:] == ("DOG", "cat")
    assert [entry["gt_classes"].tolist() for entry in data.gt_roidb()] == [[2, 2], [2, 1]]
    assert [(problem.what, problem.action) for problem in data.validate()] == [
        ("1 objects are named 'Cat'", "taken as 'cat'")]
    both = get_imdb(str(root), classes=["cat", "Cat", "dog"])       # which differ on purpose
    assert [entry["gt_classes"].tolist() for entry in both.gt_roidb()] == [[2, 1], [1, 3]]


@pytest.mark.parametrize("classes, message", [("RBC", "found the text 'RBC'"), ([], "no name but")])
def test_classes_that_are_no_list_of_names(pets, classes, message):
    with pytest.raises(DatasetError, match=message):
        get_imdb(str(pets), classes=classes)


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
    file.write_text("imges: JPEGImages\n")
    with pytest.raises(DatasetError, match="imges"):
        get_imdb(str(file))


@pytest.mark.parametrize("name, message", [
    ("nowhere", "no such folder"), ("pets:val", "no split 'val'; there are: test, train"), ("empty", "expected"),
])
def test_what_is_not_there_is_said(tmp_path, pets, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=message):
        get_imdb(str(tmp_path / name))


def test_zero_based_coordinates_are_found(tmp_path):
    """One zero anywhere in the data set, in whichever split, decides for all of it."""
    root = voc_folder(tmp_path / "z", {"a": [("cat", 3, 4, 59, 39)], "b": [("cat", 0, 2, 10, 11)]},
                      {"train": ["a"], "test": ["b"]})
    train = get_imdb(f"{root}:train")
    assert train.zero_based and train.gt_roidb()[0]["boxes"].tolist() == [[3, 4, 59, 39]]
    assert get_imdb(f"{root}:test").gt_roidb()[0]["boxes"].tolist() == [[0, 2, 10, 11]]
    assert "coordinates count from 0" in train.summary()


def test_every_problem_is_reported_at_once(tmp_path):
    root = voc_folder(tmp_path / "bad", {
        "fine": [CAT],
        "line": [("cat", 9, 9, 9, 20), CAT],
        "beyond": [("cat", 70, 5, 90, 20)],
        "sticks": [("cat", 10.5, 5, 61, 40)],
        "typo": [("cta", 1, 1, 9, 9)],
        "broken": "<annotation><object>",
        "text": [("cat", "left", 1, 9, 9)],
        "size": xml([CAT], size=(40, 60)),
        "lost": [CAT], "garbage": [CAT],
    }, {"train": ["fine", "line", "beyond", "sticks", "typo", "broken", "text", "size", "lost", "garbage", "fine",
                  "absent"]})
    (root / "JPEGImages" / "lost.jpg").unlink()
    (root / "JPEGImages" / "garbage.jpg").write_bytes(b"\xff\xd8 nonsense")
    write_image(root / "JPEGImages" / "absent.jpg")
    data = get_imdb(str(root), classes=["__background__", "cat"])
    found = {(problem.image, problem.action) for problem in data.validate()}
    assert found == {("line", "box dropped"), ("beyond", "box dropped"), ("sticks", "box clipped"),
                     ("typo", "box dropped"), ("broken", "image left out"), ("text", "image left out"),
                     ("size", "the image's size is used"), ("lost", "image left out"),
                     ("garbage", "image left out"), ("absent", "image left out"), ("train", "used once")}
    assert data.image_index == ["fine", "line", "beyond", "sticks", "typo", "size"]
    np.testing.assert_array_equal(data.gt_roidb()[3]["boxes"], [[9.5, 4, 59, 39]])
    summary = data.summary()
    for words in ("cta' (near: 'cat')", "(9, 9, 9, 20) has no area", "sticks out of the image (60 x 40) by 1",
                  "lies outside", "broken.xml: not readable", "xmin of object 'cat' is 'left'"):
        assert words in summary


def test_nothing_left_is_an_error(tmp_path):
    root = voc_folder(tmp_path / "bad", {"a": "<annotation>", "b": "<annotation>"}, {"train": ["a", "b"]})
    with pytest.raises(DatasetError, match=r"(?s)no usable image.*a.xml.*b.xml"):
        get_imdb(str(root), classes=["cat"])
    root = voc_folder(tmp_path / "none", {"a": [("cow", 1, 1, 9, 9)]}, {"train": ["a"]})
    with pytest.raises(DatasetError, match=r"(?s)no image has an object.*'cow'"):
        get_imdb(str(root), classes=["cat"]).validate()
    root = voc_folder(tmp_path / "blank", {"a": []}, {"train": ["a"]})
    with pytest.raises(DatasetError, match="no class names"):
        get_imdb(str(root))


def test_difficult_objects_are_evaluated_but_not_trained_on(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [CAT, (*OX, 1)], "b": [OX]}, {"train": ["a", "b"]})
    data = get_imdb(str(root))
    assert [len(entry["boxes"]) for entry in data.gt_roidb()] == [1, 1]
    assert "1 objects are marked as difficult" in data.summary()
    boxes = [[np.zeros((0, 5))] * 2, [np.array([[0, 0, 19, 29, 0.9]]), np.zeros((0, 5))],
             [np.array([[29, 1, 49, 37, 0.8]]), np.array([[29, 1, 49, 37, 0.7]])]]
    result = data.evaluate_detections(boxes, tmp_path / "out")
    assert result.mean_ap == 1 and result.classes["ox"].recall.tolist() == [0, 1]


def test_classes_without_objects_are_left_out_of_the_mean(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [CAT]}, {"test": ["a"]})
    data = get_imdb(f"{root}:test", classes=["cat", "dog"])
    nothing = [np.zeros((0, 5), np.float32)]
    result = data.evaluate_detections([nothing, [np.array([[0, 0, 19, 29, 0.5]], np.float32)], nothing],
                                      tmp_path / "out")
    assert result.mean_ap == 1 and np.isnan(result.classes["dog"].ap)
    assert "not in the mean, no objects to find: dog" in result.report()


def test_images_without_any_annotation_can_be_tested_on(tmp_path, pets):
    (pets / "ImageSets" / "Main" / "new.txt").write_text("n\n")
    write_image(pets / "JPEGImages" / "n.jpg")
    data = get_imdb(f"{pets}:new")
    assert data.image_index == ["n"] and data.gt_roidb()[0]["boxes"].shape == (0, 4)
    boxes = [[np.array([[1, 2, 3, 4, 0.5]])]] * data.num_classes
    with pytest.raises(DatasetError, match="nothing to evaluate against"):
        data.evaluate_detections(boxes, tmp_path / "out")
    assert (tmp_path / "out" / "comp4_det_new_cat.txt").read_text() == "n 0.5 2 3 4 5\n"


def test_joined_data_sets_are_evaluated_as_one(pets, tmp_path):
    both = get_imdb(f"{pets}:train+{pets}:test")
    perfect = [[np.zeros((0, 5))] * both.num_images]
    for label in range(1, both.num_classes):
        perfect.append([np.column_stack([entry["boxes"][entry["gt_classes"] == label],
                                         np.ones((entry["gt_classes"] == label).sum())])
                        for entry in both.gt_roidb()])
    assert both.evaluate_detections(perfect, tmp_path).mean_ap == 1


def test_joined_data_sets(tmp_path, pets):
    other = flat_folder(tmp_path / "more", {"a": [OX], "y": [CAT]})
    both = get_imdb(f"{pets}+{other}")
    assert both.classes == ("__background__", "cat", "dog", "ox")
    assert both.image_index == ["pets_train/a", "pets_train/b 1", "more_all/a", "more_all/y"]
    assert both.gt_roidb()[2]["gt_classes"].tolist() == [3]
    both.append_flipped_images()
    roidb = prepare_roidb(both)
    assert len(roidb) == 8 and roidb[6]["image"] == str(other / "a.png") and roidb[6]["flipped"]
    with pytest.raises(ValueError, match="same classes"):
        JoinedImdb([get_imdb(str(pets)), get_imdb(str(other))])


def test_flipping_float_boxes_at_the_border(pets):
    """The original's uint16 boxes wrap around here."""
    data = get_imdb(str(pets))
    data.append_flipped_images()
    assert data.num_images == 4 and data.image_index == ["a", "b 1"] * 2
    assert data.roidb[2]["boxes"].tolist() == [[40, 0, 59, 29], [0, 5, 55, 39]]
    assert data.roidb[2]["seg_areas"].tolist() == data.roidb[0]["seg_areas"].tolist()


def test_proposals_of_an_rpn(tmp_path, pets):
    data = get_imdb(str(pets))
    with pytest.raises(ValueError, match="rpn_file"):
        data.set_proposal_method("rpn") or data.roidb
    file = tmp_path / "proposals.npz"
    boxes = [np.array([[0, 0, 19, 29], [50, 30, 59, 39]], np.float32), np.zeros((0, 4), np.float32)]
    save_proposals(file, boxes, [np.ones(2), np.zeros(0)], data.image_index)
    data.config["rpn_file"] = str(file)
    data.set_proposal_method("rpn")
    assert data.roidb[0]["gt_classes"].tolist() == [1, 2, 0, 0]
    assert data.roidb[0]["max_overlaps"].tolist()[:3] == [1, 1, 1] and data.roidb[0]["max_classes"][2] == 1
    assert data.evaluate_recall()["recalls"].tolist() == [1 / 3] * 10
    with pytest.raises(ValueError, match="gt, rpn"):
        data.set_proposal_method("edge_boxes")


def test_registered_data_sets(pets):
    class Mine(imdb):
        pass

    register("mine", lambda: Mine("mine", ["__background__", "x"]))
    assert get_imdb("mine").num_classes == 2
    with pytest.raises(ValueError, match="mine"):
        register("mine", Mine)


def test_a_data_set_written_for_py_faster_rcnn(tmp_path):
    write_image(tmp_path / "a.png")

    class Classic(imdb):
        def __init__(self):
            imdb.__init__(self, "classic")
            self._classes = ("__background__", "cat")
            self._image_index = ["a"]
            self._roidb_handler = self.my_roidb
            self.config = {"cleanup": True}

        def image_path_at(self, i):
            return str(tmp_path / f"{self._image_index[i]}.png")

        def my_roidb(self):
            return [{"boxes": np.array([[3, 4, 20, 30]], np.uint16), "gt_classes": np.array([1], np.int32),
                     "gt_overlaps": scipy.sparse.csr_matrix([[0, 1]], dtype=np.float32), "flipped": False}]

    data = Classic()
    assert data.classes == ("__background__", "cat") and (data.num_classes, data.num_images) == (2, 1)
    assert data.roidb_handler == data.my_roidb
    data.append_flipped_images()
    roidb = prepare_roidb(data)
    assert [entry["boxes"].tolist() for entry in roidb] == [[[3, 4, 20, 30]], [[39, 4, 56, 30]]]
    assert roidb[1]["max_classes"].tolist() == [1] and roidb[1]["image"].endswith("a.png")
    with pytest.raises(ValueError, match="names no file of proposals"):
        data.set_proposal_method("rpn") or data.roidb


def test_lists_of_images(tmp_path):
    (tmp_path / "set.txt").write_text("a.jpg\nb 1\n\nc  -1\nd 0\n")
    assert read_image_set(tmp_path / "set.txt", {"a", "b 1", "d"}) == ["a", "b 1", "c", "d"]


def test_a_data_set_takes_little_memory(tmp_path):
    """All that is kept of an image and its mirror image: names, files, sizes, objects, entries."""
    def kept(count):
        names = [f"image{index}" for index in range(count)]
        root = voc_folder(tmp_path / str(count), {"image0": [CAT]}, {"train": names})
        for name in names:
            (root / "JPEGImages" / f"{name}.jpg").write_bytes((root / "JPEGImages" / "image0.jpg").read_bytes())
            (root / "Annotations" / f"{name}.xml").write_text(xml([CAT, DOG, OX]))
        tracemalloc.start()
        try:
            data = get_imdb(f"{root}:train")
            data.validate()
            data.append_flipped_images()
            roidb = prepare_roidb(data)
            assert len(roidb) == 2 * count and len(roidb[-1]["boxes"]) == 3
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert (kept(220) - kept(20)) / 200 < 2048


def test_image_sizes_are_read_once(tmp_path, monkeypatch):
    from datasets import imdb as module
    data = imdb("plain", ("background", "cat"))
    data.image_index = ["a", "b"]
    monkeypatch.setattr(data, "image_path_at", lambda index: str(tmp_path / f"{'ab'[index % 2]}.png"), raising=False)
    entry = {"boxes": np.array([[0, 0, 9, 9]], np.float32), "flipped": False}
    data.roidb_handler = lambda: [entry] * 2
    read = []
    monkeypatch.setattr(module, "image_size", lambda path: read.append(path) or (30 + len(read), 20))
    data.append_flipped_images()
    assert data.image_sizes() == [(31, 20), (32, 20)] * 2 and len(read) == 2
    assert data.roidb[3]["boxes"].tolist() == [[22, 0, 31, 9]]


def test_annotations_that_are_not_what_they_should_be(tmp_path):
    file = tmp_path / "x.xml"
    for text, message in [("<annotation><object><name>a</name></object></annotation>", "no bndbox"),
                          (xml([("", 1, 2, 3, 4)]), "<object> has no <name>"),
                          (xml([("a", "nan", 2, 3, 4)]), "not finite")]:
        file.write_text(text)
        with pytest.raises(AnnotationError, match=f"x.xml: .*{message}"):
            read_annotation(file)
    file.write_text(xml([(" My Class ", 1, 2, 3, 4)], size=(0, 0)))
    assert read_annotation(file).names == ["My Class"] and read_annotation(file).size is None


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_image_sizes(tmp_path, suffix):
    write_image(tmp_path / f"i{suffix}", 37, 23)
    assert image_size(tmp_path / f"i{suffix}") == (37, 23) and not ends_early(tmp_path / f"i{suffix}")


@pytest.mark.parametrize("order, orientation", [("II", 6), ("MM", 8), ("II", 1), ("MM", 3)])
def test_image_size_is_that_of_the_turned_image(tmp_path, order, orientation):
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
