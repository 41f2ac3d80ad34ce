"""Data sets on disk: cleaning and reports, class names, evaluation, memory."""
import tracemalloc

import numpy as np
import pytest
from folders_made import CAT, DOG, OX, voc_folder, write_image, xml

from datasets.factory import get_imdb
from datasets.source import DatasetError
from roi_data_layer.roidb import prepare_roidb


def test_a_class_the_training_split_lacks_is_dropped_by_name(pets):
    test = get_imdb(f"{pets}:test")
    (problem,) = test.validate()
    assert (problem.image, problem.action) == ("c", "box dropped") and "'ox'" in problem.what
    assert get_imdb(f"{pets}:test", classes=["__background__", "cat", "ox"]).validate() == []


def test_class_names_may_differ_in_case(tmp_path):
    root = voc_folder(tmp_path / "d", {"a": [("Cat", 1, 1, 20, 30), CAT], "b": [CAT, ("DOG", 5, 6, 60, 40)]},
                      {"train": ["a", "b"]})
    data = get_imdb(str(root))
    assert data.classes[1:] == ("DOG", "cat")
    assert [entry["gt_classes"].tolist() for entry in data.gt_roidb()] == [[2, 2], [2, 1]]
    assert [(problem.what, problem.action) for problem in data.validate()] == [
        ("1 objects are named 'Cat'", "taken as 'cat'")]
    both = get_imdb(str(root), classes=["cat", "Cat", "dog"])       # differ on purpose
    assert [entry["gt_classes"].tolist() for entry in both.gt_roidb()] == [[2, 1], [1, 3]]


@pytest.mark.parametrize("classes, message", [("RBC", "found the text 'RBC'"), ([], "no name but")])
def test_classes_that_are_not_a_list_of_names(pets, classes, message):
    with pytest.raises(DatasetError, match=message):
        get_imdb(str(pets), classes=classes)


def test_every_problem_is_reported_at_once(tmp_path):
    root = voc_folder(tmp_path / "bad", {
        "fine": [CAT],
        "line": [("cat", 9, 9, 9, 20), CAT],
        "beyond": [("cat", 70, 5, 90, 20)],
        "sticks": [("cat", 10.5, 5, 62, 40)], "rounded": [("cat", 10, 5, 61, 41)],
        "typo": [("cta", 1, 1, 9, 9)],
        "broken": "<annotation><object>",
        "text": [("cat", "left", 1, 9, 9)],
        "size": xml([CAT], size=(40, 60)),
        "lost": [CAT], "garbage": [CAT],
    }, {"train": ["fine", "line", "beyond", "sticks", "rounded", "typo", "broken", "text", "size", "lost", "garbage",
                  "fine", "absent"]})
    (root / "JPEGImages" / "lost.jpg").unlink()
    (root / "JPEGImages" / "garbage.jpg").write_bytes(b"\xff\xd8 nonsense")
    write_image(root / "JPEGImages" / "absent.jpg")
    data = get_imdb(str(root), classes=["__background__", "cat"])
    found = {(problem.image, problem.action) for problem in data.validate()}
    assert found == {("line", "box dropped"), ("beyond", "box dropped"), ("sticks", "box clipped"),
                     ("typo", "box dropped"), ("broken", "image left out"), ("text", "image left out"),
                     ("size", "image left out"), ("lost", "image left out"),
                     ("garbage", "image left out"), ("absent", "image left out"), ("train", "used once")}
    assert data.image_index == ["fine", "line", "beyond", "sticks", "rounded", "typo"]
    np.testing.assert_array_equal(data.gt_roidb()[3]["boxes"], [[9.5, 4, 59, 39]])
    np.testing.assert_array_equal(data.gt_roidb()[4]["boxes"], [[9, 4, 59, 39]])
    summary = data.summary()
    for words in ("cta' (near: 'cat')", "(9, 9, 9, 20) has no area", "extends beyond the image (60 x 40) by 2",
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


def test_broken_images_without_annotations_are_left_out(pets):
    (pets / "ImageSets" / "Main" / "new.txt").write_text("n\nbroken\nnone\n")
    write_image(pets / "JPEGImages" / "n.jpg")
    (pets / "JPEGImages" / "broken.jpg").write_bytes(b"\xff\xd8 nonsense")
    data = get_imdb(f"{pets}:new")
    assert data.image_index == ["n"]
    assert [(problem.image, problem.action) for problem in data.problems] == [("broken", "image left out"),
                                                                             ("none", "image left out")]


@pytest.mark.slow
def test_a_data_set_takes_little_memory(tmp_path):
    """Counts what is kept for an image and its mirror image: names, files, sizes, objects, entries."""
    def kept(count):
        names = [f"image{index}" for index in range(count)]
        root = voc_folder(tmp_path / str(count), {"image0": [CAT]}, {"train": names})
        for name in names:
            (root / "JPEGImages" / f"{name}.jpg").write_bytes((root / "JPEGImages" / "image0.jpg").read_bytes())
            (root / "Annotations" / f"{name}.xml").write_text(xml([CAT, DOG, OX]))
        tracemalloc.start(60)       # frames, to reach this one: other tests' threads allocate memory too
        try:
            data = get_imdb(f"{root}:train")
            data.validate()
            data.append_flipped_images()
            roidb = prepare_roidb(data)
            assert len(roidb) == 2 * count and len(roidb[-1]["boxes"]) == 3
            ours = [tracemalloc.Filter(True, __file__, all_frames=True)]
            return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)
        finally:
            tracemalloc.stop()

    kept(2)         # modules that are imported at the first call stay in memory
    assert (kept(110) - kept(10)) / 100 < 2048
