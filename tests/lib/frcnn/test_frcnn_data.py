"""`frcnn.Dataset`, and evaluating a detector on one."""
import json

import cv2
import numpy as np
import pytest
from frcnn_runs import make_run

import frcnn


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return frcnn.load(make_run(folder, ("ball", "brick", "ring", "star")), device="cpu")


def test_a_contact_sheet(demo_data):
    data = frcnn.Dataset(f"{demo_data}:trainval")
    assert len(data) == 6 and data.classes == ("ball", "brick", "ring", "star") and "6 images" in repr(data)
    sheet = data.show(4)
    assert sheet.shape == (2 * 300 + 6, 3 * 400 + 2 * 6, 3) and sheet._repr_png_().startswith(b"\x89PNG")
    assert sheet.tobytes() == data.show(4).tobytes() != data.show(4, seed=1).tobytes()
    assert data.show(99).shape == data.show(6).shape


def test_an_image_is_drawn_with_its_boxes(demo_data):
    data = frcnn.Dataset(f"{demo_data}:test")
    image = cv2.imread(data.imdb.image_path_at(1))
    changed = (data.draw(1) != image).any(axis=2)
    for left, top, right, bottom in data.imdb.gt_roidb()[1]["boxes"].astype(int):
        assert changed[top:bottom, left].mean() > 0.9 and changed[bottom, left:right].mean() > 0.9
    assert np.array_equal(image, cv2.imread(data.imdb.image_path_at(1)))


def test_mistakes_raise_one_exception(demo_data, detector, tmp_path):
    with pytest.raises(frcnn.UserError, match="Dataset no/where: "):
        frcnn.Dataset("no/where")
    with pytest.raises(frcnn.UserError, match="evaluate no/where: "):
        detector.evaluate("no/where")
    with pytest.raises(frcnn.UserError, match="classes: expected a list of names, found the text 'ball'"):
        frcnn.Dataset(f"{demo_data}:test", classes="ball")
    with pytest.raises(frcnn.UserError, match="count=0: expected a whole number above 0"):
        frcnn.Dataset(f"{demo_data}:test").show(0)
    for work in (detector.evaluate, detector.export):
        with pytest.raises(frcnn.UserError, match="max_per_image=-1: expected a whole number of at least 0"):
            work(f"{demo_data}:test", max_per_image=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(frcnn.UserError, match="output: the folder .*file cannot be made"):
        detector.evaluate(f"{demo_data}:test", tmp_path / "file")


def test_average_precisions(demo_data, detector, tmp_path, capsys):
    result = detector.evaluate(f"{demo_data}:test")
    assert 0 <= result.mean_ap < 0.5 and "mean AP" in repr(result)
    kept = detector.evaluate(frcnn.Dataset(f"{demo_data}:test"), tmp_path / "out")
    assert repr(kept) == repr(result) and (tmp_path / "out" / "detections.npz").is_file()
    assert set(json.loads((tmp_path / "out" / "evaluation.json").read_text())["classes"]) == set(detector.classes)
