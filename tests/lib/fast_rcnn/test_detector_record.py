"""The record beside a model: class names, anchors and settings."""
import json
import shutil

import pytest

from fast_rcnn.config import ConfigError, checked_changes, make_settings
from fast_rcnn.detector_record import detector_settings, find_record, run_record, write_model_record
from utils.files import DamagedFileError

CLASSES = ("__background__", "cat", "dog")
ANCHORS = (16.0, (2.0, 4.0), (0.5, 1.0))
SETTINGS = make_settings({"PIXEL_STDS": 60.0, "TEST.SCALES": (300,), "TEST.HAS_RPN": False})


def write_run(folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "test_cfg.yml").write_text("PIXEL_STDS: 60\nTEST: {SCALES: [240]}\n")
    note = {"cfg": "test_cfg.yml", "net": "n.pt", "model": "m.caffemodel", "classes": list(CLASSES), **changes}
    (folder / "detector.json").write_text(json.dumps(note))
    return folder


def test_the_record_of_a_model_holds_what_it_needs(tmp_path):
    model = tmp_path / "m_iter_2.caffemodel"
    path = write_model_record(model, detector_settings(SETTINGS), CLASSES, ANCHORS)
    assert path == tmp_path / "m_iter_2.detector.json"
    record = find_record(model, tmp_path / "elsewhere" / "n.pt")
    assert (record.source, record.classes, record.anchors) == (path, CLASSES, ANCHORS)
    settings = make_settings(record.settings)
    assert settings.TEST == make_settings({"TEST.SCALES": (300,), "TEST.HAS_RPN": True}).TEST
    assert settings.PIXEL_STDS.ravel().tolist() == [60, 60, 60]


def test_where_a_record_is_looked_for(tmp_path):
    run, other, empty = write_run(tmp_path / "run"), write_run(tmp_path / "other"), tmp_path / "empty"
    (other / "detector.json").unlink()
    empty.mkdir()
    assert find_record(empty / "m.caffemodel", empty / "n.pt") is None
    assert find_record(empty / "m.caffemodel", run / "n.pt").source == run / "detector.json"        # beside the net
    found = find_record(other / "m.caffemodel", run / "n.pt")           # the folder of the model comes first
    assert found.source == other / "test_cfg.yml" and found.classes is None
    assert found.settings["TEST.SCALES"] == (240,)
    write_model_record(run / "m.caffemodel", {}, CLASSES, None)         # and the model's own before that
    assert find_record(run / "m.caffemodel", run / "n.pt").source == run / "m.detector.json"


@pytest.mark.parametrize("changes, message", [
    ({"net": "../n.pt"}, "'net' '../n.pt' is not in this folder"),
    ({"model": "/tmp/m.caffemodel"}, "'model' '/tmp/m.caffemodel' is not in this folder"),
    ({"cfg": ""}, "'cfg' '' is not in this folder"), ({"cfg": "a\0b"}, r"'cfg' 'a\\x00b' is not in this folder"),
    ({"classes": ["a", 3]}, "'classes' are not a list of different names"),
    ({"classes": ["a", "a"]}, "'classes' are not a list of different names"),
    ({"anchors": [16, 8]}, "'anchors' are not"), ({"anchors": [16, ["x"], [1]]}, "'anchors' are not"),
    ({"anchors": [16, [8, float("inf")], [1]]}, "'anchors' are not"),
    ({"anchors": [float("nan"), [8], [1]]}, "'anchors' are not"),
    ({"anchors": [16, [10 ** 400], [1]]}, "'anchors' are not")])
def test_a_damaged_record_of_a_run(tmp_path, changes, message):
    with pytest.raises(DamagedFileError, match=f"detector.json: damaged, its {message}.*--resume, writes it again"):
        run_record(write_run(tmp_path / "run", **changes))


def test_a_run_that_is_linked_moved_or_copied(tmp_path):
    """Links that stay inside the run's folder are followed, links that leave it are not."""
    run = write_run(tmp_path / "run")
    (run / "weights").mkdir()
    (run / "m.caffemodel").symlink_to("weights/m.caffemodel")
    (tmp_path / "link").symlink_to(run)
    run.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copy", symlinks=True)
    (tmp_path / "moved").rename(run)
    for folder in (run, tmp_path / "link", tmp_path / "copy"):
        assert run_record(folder).model == folder / "m.caffemodel"
    (run / "m.caffemodel").unlink()
    (run / "m.caffemodel").symlink_to(tmp_path / "copy" / "weights" / "m.caffemodel")
    with pytest.raises(DamagedFileError, match="detector.json: damaged, its 'model' 'm.caffemodel' is not in this"):
        run_record(run)


def test_a_damaged_record_of_a_model(tmp_path):
    path = tmp_path / "m.detector.json"
    for text, error, message in [("{", DamagedFileError, "damaged JSON"), ("[]", DamagedFileError, "its 'settings'"),
                                 ('{"settings": {"TEST": {"SCALE": 3}}}', ConfigError, "did you mean TEST.SCALES")]:
        path.write_text(text)
        with pytest.raises(error, match=f"m.detector.json: .*{message}.*give --cfg FILE"):
            find_record(tmp_path / "m.caffemodel", tmp_path / "n.pt")


def test_a_tree_of_settings_is_checked():
    assert checked_changes({"TEST": {"SCALES": [300]}}) == {"TEST.SCALES": (300,)}
    with pytest.raises(ConfigError, match="expected a list, found int 3"):
        checked_changes({"TEST": {"SCALES": 3}})
