"""Nets whose output is a list of detections, such as SSD and YOLO, in the tools and in `frcnn`."""
import json

import cv2
import demo
import export_detector
import numpy as np
import pytest
import test_net

import caffe
import frcnn
from caffe import layers as L
from datasets.all_boxes import load_detections, stored_classes
from datasets.factory import get_imdb
from fast_rcnn.test import detections_in_rows

pytestmark = pytest.mark.usefixtures("clean_settings")
CLASSES = ["ball", "brick", "ring", "star"]
HEIGHT, WIDTH = 40, 56
MEANS, STDS = [104.0, 117.0, 123.0], [60.0, 50.0, 40.0]
WORDS = ["--classes", *CLASSES, "--cpu", "--set", "PIXEL_MEANS", str(MEANS), "PIXEL_STDS", str(STDS)]


def ssd(classes=5):
    """The prototxt of a small SSD with random weights."""
    n, fill = caffe.NetSpec(), dict(type="gaussian", std=0.5)
    n.data = L.Input(shape=dict(dim=[1, 3, HEIGHT, WIDTH]))
    n.maps = L.Pooling(L.Convolution(n.data, num_output=6, kernel_size=3, pad=1, weight_filler=fill), kernel_size=8,
                       stride=8)
    for name, each in (("loc", 4), ("conf", classes)):
        n[name] = L.Flatten(L.Permute(L.Convolution(n.maps, num_output=2 * each, kernel_size=1, weight_filler=fill),
                                      order=[0, 2, 3, 1]))
    scores = L.Softmax(L.Reshape(n.conf, shape=dict(dim=[0, -1, classes])), axis=2)
    n.boxes = L.PriorBox(n.maps, n.data, min_size=[16], max_size=[30], variance=[0.1, 0.1, 0.2, 0.2])
    n.found = L.DetectionOutput(n.loc, L.Flatten(scores), n.boxes, num_classes=classes, keep_top_k=20,
                                confidence_threshold=0.01, code_type=2, nms_param=dict(nms_threshold=0.45, top_k=40))
    return str(n.to_proto())


def yolo():
    """The prototxt of a small YOLO v2 with random weights."""
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, HEIGHT, WIDTH]))
    n.maps = L.Convolution(n.data, num_output=2 * (5 + 4), kernel_size=8, stride=8,
                           weight_filler=dict(type="gaussian", std=0.1))
    n.found = L.YoloDetectionOutput(n.maps, num_classes=4, num_box=2, biases=[1, 2, 3, 1.5])
    return str(n.to_proto())


@pytest.fixture
def files(tmp_path, request):
    """Prototxt and caffemodel of a net."""
    path = tmp_path / "deploy.prototxt"
    path.write_text(getattr(request, "param", ssd)())
    caffe.set_random_seed(4)
    caffe.Net(str(path), caffe.TEST).save(str(tmp_path / "net.caffemodel"))
    return path, tmp_path / "net.caffemodel"


def rows_of(files, image):
    """The net's output rows for an image, which is resized as in SSD's Caffe."""
    net = caffe.Net(*map(str, files), caffe.TEST)
    pixels = (cv2.resize(image, (WIDTH, HEIGHT)).astype(np.float32) - np.float32(MEANS)) / np.float32(STDS)
    return net.forward(data=pixels.transpose(2, 0, 1)[None])["found"].reshape(-1, 7)


def same(found, wanted):
    assert [rows.shape for rows in found] == [rows.shape for rows in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


# ---- rows
def test_rows_become_boxes_in_pixels():
    rows = np.array([[0, 2, 0.5, 0.1, 0.2, 0.5, 0.6], [0, 1, 0.8, -0.5, 0.25, 0.75, 1.5], [0, 2, 0.7, 0, 0, 1, 1],
                     [0, 2, 0.1, 0, 0, 1, 1]], np.float32)
    found = detections_in_rows(rows, (20, 10), 4, 0.2, 0)
    assert [len(boxes) for boxes in found] == [0, 1, 2, 0] and all(boxes.dtype == np.float32 for boxes in found)
    np.testing.assert_allclose(found[2], [[0, 0, 9, 19, 0.7], [1, 4, 4, 11, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(found[1], [[0, 5, 6.5, 19, 0.8]], rtol=1e-6)
    assert [len(boxes) for boxes in detections_in_rows(rows, (20, 10), 4, 0.2, 2)] == [0, 1, 1, 0]
    assert [len(boxes) for boxes in detections_in_rows(rows[:0], (20, 10), 3, 0.2, 2)] == [0, 0, 0]


# ---- the tools
@pytest.mark.parametrize("files", [ssd, yolo], indirect=True, ids=["ssd", "yolo"])
@pytest.mark.parametrize("workers", [0, 1])
def test_test_net_detects_and_evaluates(files, demo_data, tmp_path, capsys, workers):
    output = tmp_path / "out"
    assert test_net.main(["--def", str(files[0]), "--net", str(files[1]), "--imdb", f"{demo_data}:test", "--thresh",
                          "0.1", "--num_dets", "30", "--output", str(output), *WORDS, "NUM_WORKERS", str(workers)]) == 0
    assert "mAP as COCO" in capsys.readouterr().out and (output / "report.html").is_file()
    imdb = get_imdb(f"{demo_data}:test")
    found = load_detections(output / "detections.npz", imdb.image_index)
    assert stored_classes(output / "detections.npz") == ("__background__", *CLASSES)
    total = 0
    for index in range(imdb.num_images):
        image = cv2.imread(imdb.image_path_at(index))
        wanted = detections_in_rows(rows_of(files, image), image.shape[:2], 5, 0.1, 30)
        same([of_class[index] for of_class in found], wanted)
        total += sum(map(len, wanted))
    assert total > 10


def test_demo_draws(files, demo_data, tmp_path, capsys):
    photo = next((demo_data / "JPEGImages").iterdir())
    assert demo.main([str(photo), "--def", str(files[0]), "--net", str(files[1]), "--output", str(tmp_path / "out"),
                      "--thresh", "0.1", "--json", *WORDS]) == 0
    [found] = json.loads((tmp_path / "out" / "detections.json").read_text())
    image = cv2.imread(str(photo))
    wanted = detections_in_rows(rows_of(files, image), image.shape[:2], 5, 0.1, 0)
    assert len(found["objects"]) == sum(map(len, wanted)) > 3
    assert (tmp_path / "out" / f"{photo.stem}.png").is_file()


def test_frcnn_detects_several_at_once(files, demo_data):
    detector = frcnn.load(*files, classes=CLASSES, device="cpu",
                          settings={"PIXEL_MEANS": MEANS, "PIXEL_STDS": STDS})
    assert repr(detector).endswith("net.caffemodel, images of 56 x 40, on the CPU")
    photos = sorted((demo_data / "JPEGImages").iterdir())[:3]
    alone, together = ([found.per_class for found in detector(photos, 0.1, batch=size)] for size in (1, 3))
    assert sum(len(rows) for found in alone for rows in found) > 10
    for one, other in zip(alone, together, strict=True):
        same(one, other)
    empty = detector(photos[0], 0.999)
    assert not len(empty) and empty.best_score == pytest.approx(max(rows[:, 4].max() for rows in alone[0] if len(rows)))


def test_mismatches_are_reported(files, demo_data, tmp_path, capsys):
    words = ["--def", str(files[0]), "--net", str(files[1]), "--output", str(tmp_path / "out"), "--cpu"]
    assert test_net.main([*words, "--imdb", f"{demo_data}:test", "--classes", "ball", "ring"]) == 2
    told = capsys.readouterr().err
    assert "layer 'found': is for 5 classes with the background, but the detector has 3" in told
    assert str(files[0]) in told
    assert export_detector.main(["--def", str(files[0]), "--net", str(files[1]), "--classes", *CLASSES]) == 2
    assert f"python -m caffe export {files[0]} {files[1]} {tmp_path}/net.onnx" in capsys.readouterr().err
    text = files[0].read_text()
    files[0].write_text(text.replace("num_classes: 5", "num_classes: 5 background_label_id: -1"))
    assert test_net.main([*words, "--imdb", f"{demo_data}:test", "--classes", *CLASSES]) == 2
    assert "background_label_id is -1, expected 0" in capsys.readouterr().err
    files[0].write_text(text.replace('type: "Input"', 'type: "DummyData"').replace(
        "input_param", "dummy_data_param"))
    assert test_net.main([*words, "--imdb", f"{demo_data}:test", "--classes", *CLASSES]) == 2
    assert "has no input data: it reads its images itself" in capsys.readouterr().err


def test_outputs_that_are_not_numbers_are_refused(files, demo_data, capsys):
    net = caffe.Net(*map(str, files), caffe.TEST)
    for blobs in net.params.values():
        blobs[0].data[...] = np.nan
    net.save(str(files[1]))
    photo = next((demo_data / "JPEGImages").iterdir())
    assert demo.main([str(photo), "--def", str(files[0]), "--net", str(files[1]), "--output",
                      str(files[0].parent / "out"), *WORDS]) == 2
    assert "NaN" in capsys.readouterr().err


# ---- label maps
def test_class_names_may_be_those_of_a_label_map(files, demo_data, tmp_path, capsys):
    items = [("none_of_the_above", 0, "background"), *((name.upper(), 1 + label, name) for label, name in
                                                       enumerate(CLASSES))]
    path = tmp_path / "labelmap.prototxt"
    path.write_text("".join(f"item {{ name: '{name}' label: {label} display_name: '{shown}' }}\n"
                            for name, label, shown in reversed(items)))
    assert frcnn.load(*files, classes=[str(path)], device="cpu").classes == tuple(CLASSES)
    photo = next((demo_data / "JPEGImages").iterdir())
    words = [str(photo), "--def", str(files[0]), "--net", str(files[1]), "--output", str(tmp_path / "out"), "--cpu"]
    for text, told in ((path.read_text().replace("label: 3", "label: 7"), "labels 4, 7, 2, 1, 0"), ("", "labels none"),
                       ("layer { }", "labelmap.prototxt:1:1 : Message type")):
        path.write_text(text)
        assert demo.main([*words, "--classes", str(path)]) == 2 and told in capsys.readouterr().err
    assert demo.main([*words, "--classes", str(tmp_path / "none.prototxt")]) == 2
    assert "none.prototxt: cannot be read: No such file" in capsys.readouterr().err
