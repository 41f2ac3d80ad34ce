"""The base class of data sets: joining, mirroring, proposals, data sets by name and from py-faster-rcnn."""
import numpy as np
import pytest
import scipy.sparse
from dense_overlaps import gt_overlaps
from folders_made import CAT, OX, flat_folder, voc_folder, write_image

from datasets.diagnosis import diagnose, found_in_images, truths_of
from datasets.ds_utils import validate_boxes
from datasets.factory import get_imdb, list_imdbs, register
from datasets.imdb import imdb
from datasets.joined import JoinedImdb
from datasets.lazy_roidb import annotated
from datasets.proposals_file import save_proposals
from datasets.roidb import PER_ROI
from datasets.source import DatasetError, NothingToEvaluateError
from fast_rcnn.config import cfg
from fast_rcnn.train import filter_roidb
from roi_data_layer.roidb import prepare_roidb


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


def test_joined_data_sets_have_the_proposals_of_their_parts():
    class Custom(imdb):
        def edge_boxes_roidb(self):
            return [{"of": self.name} for _ in self.image_index]

    parts = [Custom("one", ("background",)), Custom("two", ("background",))]
    for part, names in zip(parts, (["a"], ["b", "c"]), strict=True):
        part.image_index, part.image_path_at = names, lambda i: str(i)
    both = JoinedImdb(parts)
    both.set_proposal_method("edge_boxes")
    assert [entry["of"] for entry in both.roidb] == ["one", "two", "two"]
    with pytest.raises(ValueError, match="one has no proposals 'mcg': choose one of edge_boxes, gt, rpn"):
        both.set_proposal_method("mcg")


def test_parts_without_annotations_are_not_evaluated(pets, tmp_path, capsys):
    voc_folder(tmp_path / "new", {"x": [], "y": []}, {"test": ["x", "y"]})
    for file in (tmp_path / "new" / "Annotations").iterdir():
        file.unlink()
    classes, new = get_imdb(str(pets)).classes, f"{tmp_path}/new:test"
    both = get_imdb(f"{pets}:train+{new}", classes)
    boxes = [np.zeros((0, 5))] + [np.array([[1, 1, 20, 30, 0.9]])] * (both.num_images - 1)
    detections = [[np.zeros((0, 5))] * both.num_images, *[boxes] * (both.num_classes - 1)]
    alone = get_imdb(f"{pets}:train", classes)
    wanted = alone.evaluate_detections([of_class[:alone.num_images] for of_class in detections], tmp_path / "out")
    assert repr(both.evaluate_detections(detections, tmp_path)) == repr(wanted)
    assert capsys.readouterr().out.endswith("not evaluated, as there are no annotations: new_test\n")
    assert diagnose(found_in_images(detections), truths_of(both), both.num_classes, 0).matrix[0].sum() == \
        sum(len(rows) for of_class in detections for rows in of_class[1:alone.num_images])
    with pytest.raises(DatasetError, match="new_test: has no annotations, so that all of its images"):
        both.validate()
    with pytest.raises(NothingToEvaluateError, match="has no annotations"):
        JoinedImdb([get_imdb(new, classes), get_imdb(new, classes)]).evaluate_detections(detections, tmp_path)


def test_joined_data_sets_that_can_be_evaluated_only_alone(pets):
    classic = imdb("classic", get_imdb(str(pets)).classes)
    classic.image_index, classic.image_path_at = ["z"], lambda i: "z.png"
    both = JoinedImdb([get_imdb(str(pets)), classic])
    nothing = [[np.zeros((0, 5))] * both.num_images for _ in both.classes]
    with pytest.raises(NothingToEvaluateError, match="^classic: has no method objects_of_class.*are in results$"):
        both.evaluate_detections(nothing, "results")


def test_flipping_float_boxes_at_the_border(pets):
    """The original's uint16 boxes wrap around here."""
    data = get_imdb(str(pets))
    data.append_flipped_images()
    assert data.num_images == 4 and data.image_index == ["a", "b 1"] * 2
    assert data.roidb[2]["boxes"].tolist() == [[40, 0, 59, 29], [0, 5, 55, 39]]
    assert data.roidb[2]["seg_areas"].tolist() == data.roidb[0]["seg_areas"].tolist()


def slow_iou(a, b):
    """Of two boxes of inclusive corners, one pixel at a time."""
    pixels = [{(x, y) for x in range(box[0], box[2] + 1) for y in range(box[1], box[3] + 1)} for box in (a, b)]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def test_entries_of_proposals_alone(pets):
    """Each has the class and the IoU of the object that it overlaps most; without overlap it is background."""
    data = get_imdb(str(pets))
    rng = np.random.default_rng(0)
    corners = rng.integers(0, (40, 30), (30, 2))
    boxes = [np.hstack([corners, corners + rng.integers(0, (20, 10), (30, 2))]), np.array([[57, 0, 59, 2]])]
    objects = [({"cat": 1, "dog": 2}[name], box) for name, box in (("cat", (0, 0, 19, 29)), ("dog", (4, 5, 59, 39)))]
    roidb = data.create_roidb_from_box_list(boxes, data.gt_roidb())
    for entry, proposals, known in zip(roidb, boxes, (objects, objects[1:]), strict=True):
        found = [max(((slow_iou(box, other), label) for label, other in known), key=lambda pair: pair[0])
                 for box in proposals.tolist()]
        wanted = np.zeros((len(proposals), data.num_classes))
        for row, (overlap, label) in enumerate(found):
            wanted[row, label if overlap else 0] = overlap
        np.testing.assert_array_equal(entry["boxes"], proposals)
        np.testing.assert_allclose(gt_overlaps(entry, data.num_classes), wanted, rtol=1e-6)
        assert not entry["gt_classes"].any() and not entry["seg_areas"].any() and not entry["flipped"]
    assert len({*roidb[0]["max_classes"].tolist()}) == 3 and roidb[1]["max_classes"].tolist() == [0]
    without = data.create_roidb_from_box_list(boxes, None)
    assert [entry["max_overlaps"].any() for entry in without] == [False, False]
    with pytest.raises(ValueError, match="has 2 images, proposals are for 1"):
        data.create_roidb_from_box_list(boxes[:1], data.gt_roidb())


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


def test_roidbs_are_merged_image_by_image(pets):
    data = get_imdb(str(pets))
    objects, boxes = data.gt_roidb(), [np.array([[0, 0, 19, 29], [50, 30, 59, 39]]), np.zeros((0, 4))]
    merged = data.merge_roidbs(objects, data.create_roidb_from_box_list(boxes, objects))
    for entry, wanted in zip(merged, data.with_proposals(boxes), strict=True):
        for key in PER_ROI:
            np.testing.assert_array_equal(entry[key], wanted[key])


def test_registered_data_sets(pets):
    class Mine(imdb):
        pass

    register("mine", lambda: Mine("mine", ["__background__", "x"]))
    assert get_imdb("mine").num_classes == 2
    assert {"voc_2007_trainval", "voc_2012_test", "mine"} <= {*list_imdbs()}
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


def classic_entry(boxes, labels, num_classes=3, crowd=()):
    """As written for py-faster-rcnn: crowds are neither foreground nor background."""
    overlaps = np.zeros((len(boxes), num_classes), np.float32)
    overlaps[np.arange(len(boxes)), labels] = 1
    overlaps[list(crowd)] = -1
    return {"boxes": np.array(boxes, np.uint16).reshape(-1, 4), "gt_classes": np.array(labels, np.int32),
            "gt_overlaps": scipy.sparse.csr_matrix(overlaps), "flipped": False}


def test_proposals_of_a_data_set_written_for_py_faster_rcnn(tmp_path):
    """They join its own entries, as a custom selective_search_roidb does it, and as imdb.rpn_roidb."""
    boxes = [np.array([[3, 4, 20, 30], [0, 0, 5, 5]], np.float32), np.array([[1, 1, 9, 9]], np.float32)]

    class Classic(imdb):
        def gt_roidb(self):
            return [classic_entry([[3, 4, 20, 30], [40, 5, 59, 39]], [2, 1], crowd=[1]), classic_entry([], [])]

        def selective_search_roidb(self):
            objects = self.gt_roidb()
            return imdb.merge_roidbs(objects, self.create_roidb_from_box_list(boxes, objects))

        def image_path_at(self, i):
            return f"{self.image_index[i]}.png"

        def image_sizes(self):
            return [(60, 40)] * self.num_images

    for method in ("selective_search", "rpn"):
        data = Classic("classic", ("background", "cat", "dog"))
        data.image_index = ["a", "b"]
        save_proposals(tmp_path / "p.npz", boxes, [np.ones(2), np.ones(1)], data.image_index)
        data.config["rpn_file"] = tmp_path / "p.npz"
        data.set_proposal_method(method)
        assert data.evaluate_recall()["gt_overlaps"].tolist() == [1]        # the crowd need not be found
        data.append_flipped_images()
        first, empty, mirrored, _ = prepare_roidb(data)
        assert first["max_overlaps"].tolist()[:3] == [1, -1, 1] and first["max_classes"].tolist() == [2, 0, 2, 2]
        assert first["seg_areas"].tolist() == [18 * 27, 0, 0, 0] and first["boxes"].dtype == np.float32
        assert "gt_overlaps" not in first and empty["max_overlaps"].tolist() == [0]
        assert mirrored["boxes"].tolist()[0] == [39, 4, 56, 30]
        assert [len(annotated(entry)["max_overlaps"]) >= 2 for entry in (first, mirrored)] == [True, True]
        assert len(filter_roidb([first, mirrored])) == 2


def test_what_data_sets_written_for_py_faster_rcnn_call(tmp_path, monkeypatch):
    monkeypatch.setitem(cfg, "DATA_DIR", str(tmp_path))
    data = imdb("classic")
    data.competition_mode(True)
    assert data.cache_path == str(tmp_path / "cache") and (tmp_path / "cache").is_dir()
    validate_boxes(np.array([[0, 0, 9, 4]], np.uint16), width=10, height=5)
    for box in ([65535, 0, 9, 4], [0, 0, 10, 4], [0, 0, 9, 5], [0, 3, 9, 2], [0, -1, 9, 2]):
        with pytest.raises(ValueError, match="box 1, .* of 10 x 5 pixels"):
            validate_boxes(np.array([[0, 0, 9, 4], box]), width=10, height=5)


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
