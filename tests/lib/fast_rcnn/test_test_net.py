"""From scores to detections, and the files of detections and proposals."""
import cv2
import numpy as np
import pytest
from fake_net import FakeImdb, FakeNet
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from layer_runner import set_config

from datasets.all_boxes import load_detections
from datasets.average_precision import Objects
from datasets.proposals_file import load_proposals, save_proposals
from fast_rcnn import test as detection
from roi_data_layer.pyramids import pyramids_ahead
from rpn.generate import imdb_proposals
from utils.blob import image_pyramid
from utils.images import ImageError, ImageSettings, read_image

pytestmark = pytest.mark.usefixtures("default_settings")


def flat(all_boxes):
    return (np.array([[len(dets) for dets in images] for images in all_boxes]),
            np.concatenate([dets for images in all_boxes for dets in images]))


@golden("test_net", "contract", has="in_scores")
def test_recorded_post_processing(case):
    cfg = set_config(case.config)
    per_image = [detection.detections_per_class(scores, boxes, scores.shape[1], case.params["thresh"],
                                                cfg.TEST.NMS, case.params["max_per_image"])
                 for scores, boxes in zip(case.inputs["scores"], case.inputs["boxes"], strict=True)]
    counts, dets = flat(list(zip(*per_image, strict=True)))
    case.check("counts", counts)
    case.check("dets", dets)
    assert dets.dtype == np.float32


@golden("test_net", "contract", has="in_dets")
def test_recorded_apply_nms(case):
    parts = iter(np.split(case.inputs["dets"], np.cumsum(case.inputs["counts"])[:-1]))
    all_boxes = [[next(parts) for _ in images] for images in case.inputs["counts"]]
    counts, dets = flat(detection.apply_nms(all_boxes, case.params["thresh"]))
    case.check("counts", counts)
    case.check("dets", dets)


def test_apply_nms_takes_empty_lists():
    (none,), (some,) = detection.apply_nms([[[]], [np.ones((2, 5))]], 0.3)
    assert none.shape == (0, 5) and some.shape == (1, 5)


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.png" for name in ("a", "b", "c")]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 255, (40, 60, 3)).astype(np.uint8))
    return paths


CLASSES = ("__background__", "cat", "dog")


def detector(num_rois):
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 60, (num_rois, 2))
    return {"rois": np.column_stack([np.zeros(num_rois), corners, corners + 30]).astype(np.float32),
            "cls_prob": rng.dirichlet(np.ones(3), num_rois).astype(np.float32),
            "bbox_pred": np.zeros((num_rois, 12), np.float32)}


def test_test_net_stores_and_evaluates(photographs, tmp_path, capsys):
    set_config({"TEST.HAS_RPN": True, "TEST.SCALES": (80,)})
    net = FakeNet(["data", "im_info"], detector(20), inner=("rois",))
    imdb = FakeImdb(photographs, CLASSES)
    assert detection.test_net(net, imdb, 4, vis=True, output_dir=tmp_path / "out") == "evaluated"
    all_boxes, folder = imdb.evaluated
    assert folder == str(tmp_path / "out")
    assert [sum(len(all_boxes[c][i]) for c in range(3)) for i in range(3)] == [4, 4, 4]
    stored = load_detections(tmp_path / "out" / "detections.npz", imdb.image_index, CLASSES)
    for got, want in zip(flat(stored), flat(all_boxes), strict=True):
        np.testing.assert_array_equal(got, want)
    assert sorted(path.name for path in (tmp_path / "out" / "vis").iterdir()) == ["a.png", "b.png", "c.png"]
    assert "im_detect: 3/3" in capsys.readouterr().out


def test_pictures_show_the_objects_and_have_safe_names(photographs, tmp_path):
    set_config({"TEST.HAS_RPN": True, "TEST.SCALES": (80,)})
    imdb = FakeImdb(photographs, CLASSES)
    imdb.image_index = ["../x", "x/y", "x_y"]
    imdb.objects_of_class = lambda name: {
        image: Objects(np.array([[10.0, 10, 50, 30]]), np.zeros(1, bool)) for image in imdb.image_index}
    answers = {**detector(2), "cls_prob": np.tile(np.float32([1, 0, 0]), (2, 1))}
    net = FakeNet(["data", "im_info"], answers, inner=("rois",))
    detection.test_net(net, imdb, vis=True, output_dir=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "vis").iterdir()) == [".._x.png", "x%2Fy.png", "x_y.png"]
    picture = cv2.imread(str(tmp_path / "out" / "vis" / "x_y.png"))
    assert (picture[10, 10:51] == 255).all() and (picture[30, 10:51] == 255).all()


def test_results_go_into_the_output_folder_of_data_set_and_net(photographs, tmp_path):
    cfg = set_config({"TEST.HAS_RPN": True, "TEST.SCALES": (80,)})
    cfg.ROOT_DIR = str(tmp_path)
    net, imdb = FakeNet(["data", "im_info"], detector(20), inner=("rois",)), FakeImdb(photographs, CLASSES)
    net.name, imdb.name = "small", "three"
    detection.test_net(net, imdb, 4)
    assert (tmp_path / "output" / "default" / "three" / "small" / "detections.npz").is_file()


def test_test_net_uses_the_proposals_of_the_roidb(photographs, tmp_path):
    set_config({"TEST.SCALES": (80,), "DEDUP_BOXES": 0.0})
    answers = detector(2)
    del answers["rois"]
    net = FakeNet(["data", "rois"], answers)
    roidb = [{"boxes": np.array([[1, 2, 20, 30], [4, 5, 30, 33], [9, 9, 12, 14]], np.float32),
              "gt_classes": np.array([0, 2, 0])} for _ in photographs]
    roidb[1]["gt_classes"] = np.array([1, 2, 1])        # no proposals
    imdb = FakeImdb(photographs, CLASSES, roidb)
    detection.test_net(net, imdb, thresh=0.0, output_dir=tmp_path / "out")
    np.testing.assert_array_equal(net.fed["rois"], [[0, 2, 4, 40, 60], [0, 18, 18, 24, 28]])
    counts, _ = flat(imdb.evaluated[0])
    assert counts[:, 1].sum() == 0 and counts[:, 0].sum() > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_prefetched_images_are_in_order_and_equal_those_read_one_by_one(photographs, workers):
    cfg = set_config({"TEST.SCALES": (80, 30), "TEST.MAX_SIZE": 100, "PIXEL_STDS": 58.0, "NUM_WORKERS": workers})
    with pyramids_ahead(FakeImdb(photographs, CLASSES), ImageSettings.from_cfg(cfg, "TEST")) as pyramids:
        got = list(pyramids)
    assert len(got) == len(photographs)
    for pyramid, path in zip(got, photographs, strict=True):
        data, scales = image_pyramid(read_image(path), cfg.PIXEL_MEANS, (80, 30), 100, cfg.PIXEL_STDS)
        np.testing.assert_array_equal(pyramid.data, data)
        np.testing.assert_array_equal(pyramid.scales, scales)
        assert pyramid.file_size == (40, 60)


def test_a_broken_image_ends_the_test_when_it_is_reached(photographs, tmp_path, capsys):
    set_config({"TEST.HAS_RPN": True, "TEST.SCALES": (80,)})
    photographs[2].write_bytes(b"not an image")
    net = FakeNet(["data", "im_info"], detector(20), inner=("rois",))
    with pytest.raises(ImageError, match="c.png: the image is missing or broken"):
        detection.test_net(net, FakeImdb(photographs, CLASSES), output_dir=tmp_path / "out")
    assert "im_detect: 1/3" in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_proposals_of_a_data_set_are_kept(photographs, tmp_path):
    set_config({"TEST.SCALES": (80,)})
    rois = detector(7)["rois"]
    net = FakeNet(["data", "im_info"], {"rois": rois, "scores": np.arange(7, 0, -1, np.float32)[:, None]})
    imdb = FakeImdb(photographs, CLASSES)
    boxes, scores = imdb_proposals(net, imdb)
    boxes[1], scores[1] = boxes[1][:3], scores[1][:3]
    path = tmp_path / "proposals.npz"
    save_proposals(path, boxes, scores, imdb.image_index)
    got_boxes, got_scores = load_proposals(path, ["b", "a"])
    np.testing.assert_array_equal(got_boxes[0], boxes[1])
    np.testing.assert_array_equal(got_scores[1], scores[0][:, 0])
    assert [len(rows) for rows in load_proposals(path)[0]] == [7, 3, 7]
    np.testing.assert_allclose(boxes[0], rois[:, 1:] / 2)


def test_bad_proposal_files_are_reported(tmp_path):
    path = tmp_path / "proposals.npz"
    save_proposals(path, [np.zeros((1, 4))], [np.zeros(1)], ["a"])
    with pytest.raises(ValueError, match="no proposals for 1 of 2 images, such as 'b'"):
        load_proposals(path, ["a", "b"])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="proposals.npz: not a file of proposals"):
        load_proposals(path)
    np.savez(path, boxes=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="not a file of proposals"):
        load_proposals(path)
