"""tools/report.py on a run that consists of its records only."""
import json
import shutil

import numpy as np
import pytest
from test_look_at_data import run  # noqa: F401  (fixture)

from datasets.all_boxes import save_detections
from datasets.factory import get_imdb

pytestmark = pytest.mark.usefixtures("default_settings")


@pytest.fixture
def made_run(tmp_path, demo_data):
    """A run whose detections are the objects, slightly shifted, plus a false positive per image; and its test set."""
    imdb = get_imdb(f"{demo_data}:test")
    boxes = [[np.zeros((0, 5))] * imdb.num_images]
    for name in imdb.classes[1:]:
        objects = imdb.objects_of_class(name)
        boxes.append([np.column_stack([np.vstack([[[0, 0, 9, 9]], objects[image].boxes + 2]),
                                       np.linspace(0.9, 0.3, len(objects[image].boxes) + 1)])
                      for image in imdb.image_index])
    folder = tmp_path / "trained" / "test" / imdb.name
    folder.mkdir(parents=True)
    save_detections(folder / "detections.npz", boxes, imdb.image_index, imdb.classes)
    (folder / "data_set.json").write_text(json.dumps({"data set": imdb.location}))
    logs = tmp_path / "trained" / "logs"
    logs.mkdir()
    for stage in ("stage1_rpn", "stage1_fast_rcnn"):
        records = [{"iteration": number, "stage": stage, "loss": 3 / number, "losses": {"a": 1.0, "b": 2.0}, "lr": 0.01,
                    "seconds": 0.1} for number in (1, 20, 40)]
        (logs / f"{stage}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "trained" / "validation").mkdir()
    (tmp_path / "trained" / "validation" / "stage1_rpn.jsonl").write_text("".join(json.dumps(
        {"iteration": number, "figures": {"AR": value, "recall": 0.5}}) + "\n"
        for number, value in ((10, float("nan")), (20, 0.25), (30, 0.125))))
    photograph = {"file": imdb.image_path_at(0), "flipped": False, "kept": 8, "loss": 1.5}
    roi = {"image": 0, "box": [5.0, 5.0, 60.0, 40.0], "class": 0, "loss": 3.0, "iou": 0.0}
    (logs / "hard_rois").mkdir()
    (logs / "hard_rois" / "stage1_fast_rcnn.jsonl").write_text("".join(json.dumps(
        {"iteration": number, "pass": number - 1, "images": [photograph], "classes": {"0": 6, "2": 2}, "rois": [roi]})
        + "\n" for number in (1, 30, 40)))
    return tmp_path / "trained"


def test_the_page_of_a_run(run, made_run):      # noqa: F811
    status, printed, _ = run("report", "--run", made_run)
    assert (status, printed.splitlines()[-1]) == (0, f"Page: {made_run}/report.html")
    page = (made_run / "report.html").read_text()
    assert page.index("stage1_rpn") < page.index("stage1_fast_rcnn") and "80 iterations in 2 stages" in page
    assert page.count("<h3>Validation") == 1 and "best AR 0.250, after iteration 20" in page
    assert "in 3 recorded passes" in page and "unlabelled object? loss 3.00, in 2 of 2 visits" in page
    assert "The rest is background: 75 % at first,\n75 % at the end." in page
    assert "class 2" in page and "stage1_fast_rcnn, iteration 40" in page
    assert "False alarms: 8" in page and page.count("data:image/jpeg") == 8 + 1 + 1 + 3 and "AP50:95" in page


def test_the_page_of_a_detector_that_found_nothing(run, made_run):   # noqa: F811
    [folder] = (made_run / "test").iterdir()
    imdb = get_imdb(json.loads((folder / "data_set.json").read_text())["data set"])
    save_detections(folder / "detections.npz", [[np.zeros((0, 5))] * imdb.num_images] * imdb.num_classes,
                    imdb.image_index, imdb.classes)
    assert run("report", "--run", folder)[0] == 0
    page = (folder / "report.html").read_text()
    assert "There are no detections" in page and "No object is found." in page and "highest F1" not in page


def test_the_page_of_a_test_with_nothing_to_find(run, made_run, demo_data, tmp_path):     # noqa: F811
    shutil.copytree(demo_data, tmp_path / demo_data.name)
    for file in (tmp_path / demo_data.name / "Annotations").iterdir():
        file.write_text(file.read_text().replace("<difficult>0<", "<difficult>1<"))
    [folder] = (made_run / "test").iterdir()
    assert run("report", "--run", folder, "--imdb", f"{tmp_path / demo_data.name}:test")[0] == 0
    page = (folder / "report.html").read_text()
    assert "There are no objects to find" in page and "There are no detections" not in page


def test_the_page_of_a_test_alone(run, made_run):   # noqa: F811
    [folder] = (made_run / "test").iterdir()
    assert run("report", "--run", folder)[0] == 0 and "False alarms: 8" in (folder / "report.html").read_text()


def test_a_missing_test_set_is_named(run, made_run, demo_data, tmp_path):     # noqa: F811
    moved = shutil.copytree(demo_data, tmp_path / "moved")
    [note] = (made_run / "test").glob("*/data_set.json")
    note.write_text(json.dumps({"data set": f"{tmp_path}/gone:test"}))
    status, printed, _ = run("report", "--run", made_run)
    assert status == 0 and "its results are not shown" in printed and "/gone" in printed
    run("report", "--run", made_run, "--imdb", f"{moved}:test")
    assert "False alarms: 8" in (made_run / "report.html").read_text()


def test_folders_that_are_refused(run, made_run, tmp_path):     # noqa: F811
    (tmp_path / "empty").mkdir()
    for folder, told in (("gone", "there is no folder"), ("empty", "holds neither a training")):
        status, _, errors = run("report", "--run", tmp_path / folder)
        assert status == 2 and told in errors
    (made_run / "report.html").write_text("mine")
    status, _, errors = run("report", "--run", made_run)
    assert status == 2 and "would be overwritten" in errors and (made_run / "report.html").read_text() == "mine"
    (made_run / "report.html").unlink()
    (made_run / "validation" / "stage1_rpn.jsonl").write_text('{"iteration": 3}\n')
    status, _, errors = run("report", "--run", made_run)
    assert status == 2 and "validation/stage1_rpn.jsonl:1: damaged" in errors
    (made_run / "logs" / "stage1_rpn.jsonl").write_text("{}\n")
    status, _, errors = run("report", "--run", made_run)
    assert status == 2 and "stage1_rpn.jsonl:1: damaged" in errors
