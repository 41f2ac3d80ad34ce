"""`frcnn.load` and what a detector does with images."""
import copy
import io
import shutil
import threading

import cv2
import numpy as np
import pytest
from frcnn_runs import make_run

import frcnn
from fast_rcnn.config import cfg, change_cfg, file_changes, reset_cfg
from fast_rcnn.test import detect_together, detections_per_class, im_detect
from frcnn.photographs import batches

THRESH = 0.1        # which random weights exceed


class Tensor(list):
    """Can be iterated over down to numbers, as PyTorch's."""
    ndim = 3


def same(a, b):
    return (a.boxes.tobytes(), a.scores.tobytes(), list(a.labels)) == (b.boxes.tobytes(), b.scores.tobytes(),
                                                                       list(b.labels))


@pytest.fixture(scope="module")
def detector(run_folder):
    return frcnn.load(run_folder, device="cpu")


# ---- images
def test_objects_come_with_label_score_and_box_the_best_first(detector, photos):
    found = detector(photos / "im0.png", thresh=THRESH)
    assert len(found) > 2 and found.path == str(photos / "im0.png") and detector.classes == ("cat", "dog")
    assert found.boxes.shape == (len(found), 4) and list(found.scores) == sorted(found.scores, reverse=True)
    for row, (label, score, box) in enumerate(found):
        assert label == found.labels[row] and score == found.scores[row] and box == tuple(found.boxes[row])
    assert found[-1] == list(found)[-1] and found[:2] == list(found)[:2] and found[0].label in ("cat", "dog")
    assert found.as_json()["objects"][0] == {"label": found[0].label, "score": found[0].score, "box": [*found[0].box]}


def test_the_numbers_are_those_of_im_detect(detector, run_folder, photos):
    image = cv2.imread(str(photos / "im1.png"))
    reset_cfg()
    change_cfg(file_changes(run_folder / "test_cfg.yml"))
    scores, boxes = im_detect(detector.net, image)
    wanted = detections_per_class(scores, boxes, 3, THRESH, cfg.TEST.NMS, 0)
    reset_cfg()
    found = detector(image, THRESH)
    assert [rows.tobytes() for rows in found.per_class] == [rows.tobytes() for rows in wanted]


def test_paths_arrays_lists_folders_and_patterns(detector, photos):
    files = sorted(photos.iterdir())
    wanted = [detector(str(path), THRESH) for path in files]
    arrays = [cv2.imread(str(path)) for path in files]
    contents = [path.read_bytes() for path in files]
    assert same(detector(contents[0], THRESH), wanted[0])
    for images in (photos, f"{photos}/*.png", files, arrays, np.stack(arrays), [photos], iter(files), tuple(files),
                   contents):
        found = detector(images, THRESH)
        assert [same(*pair) for pair in zip(found, wanted, strict=True)] == [True] * 3
    content = files[0].read_bytes()
    assert all(same(detector(kind(content), THRESH), wanted[0]) for kind in (bytearray, memoryview))
    assert isinstance(detector(arrays[0]), frcnn.Results) and detector([], THRESH) == []


def test_batches_are_forward_passes_with_the_same_results(detector, photos, monkeypatch):
    cv2.imwrite(str(photos / "im2.png"), np.full((90, 160, 3), 99, np.uint8))      # another size
    files = sorted(photos.iterdir())
    wanted, sizes = [detector(path, THRESH) for path in files], []
    forward = detector.net.forward
    monkeypatch.setattr(detector.net, "forward", lambda **blobs: sizes.append(len(blobs["data"])) or forward(**blobs))
    for batch, passes in ((1, [1, 1, 1]), (8, [2, 1])):
        sizes.clear()
        found = detector(files, THRESH, batch=batch)
        assert sizes == passes and [result.path for result in found] == [str(path) for path in files]
        for one, other in zip(found, wanted, strict=True):
            assert list(one.labels) == list(other.labels) and one.best_score == pytest.approx(other.best_score)
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    for batch in (0, 2.5, None):
        with pytest.raises(frcnn.UserError, match=r"batch=.*: expected a whole number above 0"):
            detector(files, batch=batch)


@pytest.mark.parametrize("most, sizes, read", [(1, [1] * 5, [1, 2, 3, 4, 5]), (2, [2, 1, 1, 1], [2, 4, 5, 5]),
                                               (3, [3, 1, 1], [3, 5, 5])])
def test_no_more_images_are_read_than_a_batch_needs(most, sizes, read):
    images = iter([(np.zeros((height, 9, 3), np.uint8), "") for height in (5, 5, 5, 8, 5)])
    found = [(len(batch), 5 - len(list(copy.copy(images)))) for batch in batches(images, most)]
    assert found == list(zip(sizes, read, strict=True))


def test_without_objects_the_best_score_is_reported(detector, photos):
    found = detector(photos / "im0.png", thresh=0.999)
    best = detector(photos / "im0.png", thresh=0).scores[0]
    assert len(found) == 0 and found.best_score == best and list(found) == []
    assert f"0 objects\n  best score {best:.2f} is below thresh 0.999" in repr(found)
    with pytest.raises(frcnn.UserError, match="^thresh 50: scores are between 0 and 1$"):
        detector(photos / "im0.png", thresh=50)
    with pytest.raises(frcnn.UserError, match="^thresh '0.5': expected a number$"):
        detector(photos / "im0.png", thresh="0.5")


def test_pictures_are_arrays_that_notebooks_show_and_that_can_be_saved(detector, photos, tmp_path):
    image = photos / "im0.png"
    picture = detector.draw(image, THRESH)
    assert picture.shape == (120, 160, 3) and (picture != cv2.imread(str(image))).any()
    assert picture.tobytes() == detector(image, THRESH).draw().tobytes()
    picture.save(tmp_path / "out.png")
    shown = cv2.imdecode(np.frombuffer(picture._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(shown, picture) and np.array_equal(cv2.imread(str(tmp_path / "out.png")), picture)
    assert detector(image, THRESH)._repr_png_() == picture._repr_png_() and picture[0]._repr_png_() is None
    with pytest.raises(frcnn.UserError, match=r"out.xyz: cannot be written as an image"):
        picture.save(tmp_path / "out.xyz")


def test_videos_are_detected_frame_by_frame(detector, photos, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (160, 120))
    for path in sorted(photos.iterdir()):
        writer.write(cv2.imread(str(path)))
    writer.release()
    found = list(detector.stream(tmp_path / "a.avi", THRESH))
    assert len(found) == 3 and all(result.image.shape == (120, 160, 3) for result in found)
    assert [len(result) for result in detector.stream(tmp_path / "a.avi", THRESH, batch=2)] == [*map(len, found)]
    with pytest.raises(frcnn.UserError, match="im0.png.*|no such video"):
        list(detector.stream(tmp_path / "no.avi"))


@pytest.mark.parametrize("image, message", [
    ("no.jpg", "no.jpg: there is no such photograph or folder"), ("*.tif", r"\*.tif: no file matches"),
    (np.zeros((9, 9), np.uint8), r"\(height, width, 3\) uint8 BGR, as cv2.imread returns; got \(9, 9\) uint8"),
    (np.zeros((9, 9, 3)), r"got \(9, 9, 3\) float64"), (np.zeros((0, 9, 3), np.uint8), r"got \(0, 9, 3\)"),
    (np.zeros((1, 5000, 3), np.uint8), "no pixels are left of 5000 x 1"), ([__file__], "detector.py: the image"),
    (b"", "image data: the image is missing or broken"), (b"text", "image data: the image is missing or broken"),
    (7, "expected an image"), ([None], "expected an image"), (io.BytesIO(b"text"), "expected an image.*got BytesIO"),
    (Tensor([[[0]]]), "expected an image.*got Tensor")])
def test_wrong_images_raise_one_exception(detector, tmp_path, monkeypatch, image, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(frcnn.UserError, match=message):
        detector(image)


# ---- loading
def test_a_detector_is_found_by_its_run_its_model_or_its_files(detector, run_folder, photos, tmp_path):
    net, model, image = run_folder / "faster_rcnn_test.pt", run_folder / "model.caffemodel", photos / "im0.png"
    wanted = detector(image, THRESH)
    for words in ([run_folder], [str(model)], [net, model]):
        assert same(frcnn.load(*words, device="cpu")(image, THRESH), wanted)
    for path in (net, model):
        shutil.copy(path, tmp_path)
    with pytest.raises(
            frcnn.UserError, match=r"no record beside it names its test net: call load\('test.pt', 'model.caffe"):
        frcnn.load(tmp_path / model.name)
    with pytest.raises(frcnn.UserError, match=r"no record beside it has its class names: pass classes=\[...\]"):
        frcnn.load(tmp_path / net.name, tmp_path / model.name)
    alone = frcnn.load(tmp_path / net.name, tmp_path / model.name, device="cpu", classes=["cat", "dog"],
                       cfg=run_folder / "test_cfg.yml")
    assert same(alone(image, THRESH), wanted)


@pytest.mark.parametrize("words, keys, message", [
    (["no"], {}, "no: there is no such file or folder"), (["."], {}, "has no finished detector"),
    (["no.pt", "no.caffemodel"], {}, "no.pt: there is no such file"),
    (["RUN"], {"device": -1}, "device=-1: expected 'cpu'"),
    (["RUN"], {"device": "tpu"}, "device='tpu': expected 'cpu', or the number of a GPU"),
    (["RUN"], {"classes": ["cat"]}, "has 2 classes with the background, the detector has 3: cat, dog"),
    (["RUN"], {"classes": "ab"}, "classes: expected a list of names, found the text 'ab'"),
    (["RUN"], {"classes": ["cat", "cat "]}, "class names must differ: __background__, cat, cat"),
    (["RUN"], {"settings": ["TEST.NMS", 0.4]}, "settings: expected a dictionary, as {'TEST.NMS': 0.4}, found"),
    (["RUN"], {"settings": {"TEST.SCALE": 5}}, "TEST.SCALES"), (["RUN"], {"cfg": "no.yml"}, "no.yml cannot be read"),
    (["RUN"], {"settings": {"TEST.NMS": 7.0}}, r"TEST.NMS is 7.0: it must lie in 0..1"),
    (["RUN"], {"settings": {"TEST.HAS_RPN": False}}, "makes its own proposals, but TEST.HAS_RPN is False")])
def test_mistakes_in_loading_raise_one_exception_and_leave_cfg(run_folder, tmp_path, monkeypatch, words, keys, message):
    monkeypatch.chdir(tmp_path)
    before = copy.deepcopy(cfg)
    with pytest.raises(frcnn.UserError, match=message):
        frcnn.load(*[str(run_folder) if word == "RUN" else word for word in words], **keys)
    assert repr(cfg) == repr(before)


@pytest.mark.parametrize("device, number", [(1, 1), ("cuda:1", 1), ("cuda", 0), ("0", 0)])
def test_a_missing_gpu_is_named(run_folder, device, number):
    import caffe
    if caffe.has_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(frcnn.UserError, match=f"device={number}: PyTorch sees no CUDA GPU here; without device "):
        frcnn.load(run_folder, device=device)


# ---- one file for onnxruntime
def test_a_detector_is_exported(detector, photos, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    pytest.importorskip("onnx", reason="needs the package onnx")
    image, before = cv2.imread(str(photos / "im0.png")), copy.deepcopy(cfg)
    path = detector.export(tmp_path / "new" / "det.onnx", preprocess=True, thresh=THRESH, max_per_image=0)
    assert path == tmp_path / "new" / "det.onnx" and repr(cfg) == repr(before)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    boxes, scores, labels = session.run(["boxes", "scores", "labels"], {"image": image})
    wanted = detector(image, THRESH)
    assert sorted(labels) == sorted(wanted.class_indices)
    np.testing.assert_allclose(scores, wanted.scores, atol=1e-4)
    (tmp_path / "photo.jpg").write_text("mine")
    for file, message in ((tmp_path / "photo.jpg", "path .*photo.jpg: is there already, and its name is not"),
                          (tmp_path, "is a folder, expected the name of a file"),
                          (tmp_path / "photo.jpg" / "a.onnx", "path: the folder .*photo.jpg cannot be made")):
        with pytest.raises(frcnn.UserError, match=message):
            detector.export(file)
    for opset, message in ((30, "opset: expected 18 to 21, found 30"), ("18", "opset='18': expected a whole number")):
        with pytest.raises(frcnn.UserError, match=message):
            detector.export(tmp_path / "a.onnx", opset=opset)


# ---- several in one process
@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A detector with other classes, sizes, means, limits of its RPN, NMS and precision."""
    settings = ("TEST: {SCALES: [90], HAS_RPN: true, RPN_POST_NMS_TOP_N: 20, RPN_MIN_SIZE: 1, NMS: 0.9}\n"
                "PIXEL_MEANS: 0\nPIXEL_STDS: 200\nPRECISION: bfloat16\n")
    return make_run(tmp_path_factory.mktemp("others") / "run", ("ant", "bee", "fly"), settings, seed=5)


def test_two_detectors_do_not_affect_each_other(run_folder, other, photos):
    alone = {}
    for folder in (run_folder, other):
        alone[folder] = frcnn.load(folder, device="cpu")(photos, THRESH)
    before = copy.deepcopy(cfg)
    one, two = frcnn.load(run_folder, device="cpu"), frcnn.load(other, device="cpu")
    for _ in range(2):
        for detector, folder in ((one, run_folder), (two, other)):
            assert all(same(*pair) for pair in zip(detector(photos, THRESH), alone[folder], strict=True))
    assert repr(cfg) == repr(before) and {*two(photos, 0)[0].labels} <= {"ant", "bee", "fly"}


def test_layers_that_read_cfg_in_forward_find_their_detectors_settings(run_folder, other, photos, monkeypatch):
    detectors, found = [frcnn.load(folder, device="cpu") for folder in (run_folder, other)], []

    def detect(*args):
        found.append(repr(cfg.TEST))
        return detect_together(*args)
    monkeypatch.setattr("frcnn.detector.detect_together", detect)
    for detector in detectors:
        detector(photos / "im0.png", THRESH)
    assert found == [repr(detector.settings.TEST) for detector in detectors] and found[0] != found[1]


def test_threads_share_a_detector(run_folder, photos):
    detector, found = frcnn.load(run_folder, device="cpu"), {}
    wanted = {path: detector(path, THRESH) for path in sorted(photos.iterdir())[:2]}

    def detect(path):
        found[path] = [detector(path, THRESH) for _ in range(2)]
    threads = [threading.Thread(target=detect, args=(path,)) for path in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(result, wanted[path]) for path in wanted for result in found[path])


def test_threads_take_turns(run_folder, other, photos):
    detectors = [frcnn.load(folder, device="cpu") for folder in (run_folder, other)]
    wanted, found = [detector(photos, THRESH) for detector in detectors], [[], []]

    def detect(index):
        for _ in range(3):
            found[index].append(detectors[index](photos, THRESH))
    threads = [threading.Thread(target=detect, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in (0, 1):
        assert len(found[index]) == 3
        assert all(same(*pair) for results in found[index] for pair in zip(results, wanted[index], strict=True))
