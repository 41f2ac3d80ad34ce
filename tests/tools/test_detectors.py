"""Detectors in the tools: class names, settings, mismatched outputs and weights, photographs and videos."""
import csv
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
from test_mistakes import ROOT, load_tool

import caffe
from datasets.all_boxes import stored_classes
from fast_rcnn.config import cfg, reset_cfg
from net_definitions import model_files
from utils.errors import UserError
from utils.image_header import IMAGE_SUFFIXES

BOX = {"xmin": 20, "ymin": 20, "xmax": 90, "ymax": 90}
RUN_SETTINGS = (ROOT / "experiments" / "cfgs" / "tiny.yml").read_text().replace("[300]", "[120]") + "NUM_WORKERS: 0\n"
pytestmark = pytest.mark.usefixtures("default_settings")


@pytest.fixture
def run(capsys):
    """Runs a tool in this process with default settings; returns its exit status and output."""
    def call(name, *words):
        reset_cfg()
        status = load_tool(name).main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out + printed.err
    return call


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (120, 160, 3), np.uint8)


def folder_of(path, **images):
    """A data set in one folder; the arguments give the classes of each image's objects."""
    path.mkdir()
    for name, labels in images.items():
        cv2.imwrite(str(path / f"{name}.png"), noise())
        corners = "".join(f"<{tag}>{value}</{tag}>" for tag, value in BOX.items())
        objects = "".join(f"<object><name>{label}</name><bndbox>{corners}</bndbox></object>" for label in labels)
        (path / f"{name}.xml").write_text(f"<annotation><size><width>160</width><height>120</height></size>{objects}"
                                          "</annotation>")
    return path


@pytest.fixture
def detector(tmp_path):
    """A run's folder, with a detector for 'cat' and 'dog' with random weights."""
    folder = tmp_path / "run"
    folder.mkdir()
    net = folder / "faster_rcnn_test.pt"
    net.write_text(model_files("Tiny", 3)["Tiny/faster_rcnn_alt_opt/faster_rcnn_test.pt"])
    caffe.set_random_seed(1)
    caffe.Net(str(net), caffe.TEST).save(str(folder / "model.caffemodel"))
    (folder / "test_cfg.yml").write_text(RUN_SETTINGS)
    (folder / "detector.json").write_text(json.dumps({
        "cfg": "test_cfg.yml", "net": net.name, "model": "model.caffemodel",
        "classes": ["__background__", "cat", "dog"], "anchors": [16, [2, 4, 8], [0.5, 1, 2]]}))
    return folder


def files_of(folder):
    return ["--def", folder / "faster_rcnn_test.pt", "--net", folder / "model.caffemodel"]


# ---- class names
def test_tests_and_revaluations_match_classes_by_name(run, detector, tmp_path):
    other = folder_of(tmp_path / "other", a=["dog", "zebra"], b=["dog"])
    status, text = run("test_net", "--run", detector, "--imdb", other, "--cpu", "--thresh", "0")
    assert status == 0 and "unknown class 'zebra': 1 objects" in text and "no objects to find: cat" in text, text
    results = detector / "test" / "other_all"
    assert stored_classes(results / "detections.npz") == ("__background__", "cat", "dog")
    assert sorted(path.name for path in results.glob("comp4*")) == ["comp4_det_all_cat.txt", "comp4_det_all_dog.txt"]
    table = text[text.index("area"):text.index("Results")]
    assert "mAP as COCO defines it: " in table.splitlines()[-1]
    record = (results / "evaluation.json").read_text()
    (results / "evaluation.json").unlink()
    status, text = run("reval", results, "--imdb", other)
    assert status == 0 and text[text.index("area"):] == table
    assert (results / "evaluation.json").read_text() == record and json.loads(record)["classes"]["cat"]["ap"] is None


def test_detections_as_tables_and_a_page(run, detector, tmp_path):
    folder_of(tmp_path / "pets", a=["dog"], b=["cat", "dog"])
    status, text = run("test_net", "--run", detector, "--imdb", tmp_path / "pets", "--cpu", "--json", "--csv", "--vis")
    results = detector / "test" / "pets_all"
    assert status == 0 and text.endswith(f"Page: {results}/report.html\n"), text
    with open(results / "detections.csv", newline="") as file:
        header, *rows = csv.reader(file)
    found = json.loads((results / "detections.json").read_text())
    assert header == ["image", "class", "score", "x1", "y1", "x2", "y2"] and len(rows) == len(found) > 0
    for row, each in zip(rows, found, strict=True):
        assert row == [each["image"], each["class"], *map(str, [each["score"], *each["box"]])]
    assert {each["image"] for each in found} == {"a", "b"} and {each["class"] for each in found} <= {"cat", "dog"}
    assert sorted(path.name for path in (results / "vis").iterdir()) == ["a.png", "b.png"]
    assert "Results on pets_all" in (results / "report.html").read_text()
    (results / "report.html").write_text("mine")
    status, text = run("test_net", "--run", detector, "--imdb", tmp_path / "pets", "--cpu")
    assert status == 2 and "report.html: would be overwritten" in text


@pytest.mark.parametrize("name, options", [("evaluation.json", []), ("comp4_det_test_cat.txt", []),
                                           ("detections.csv", ["--csv"])])
def test_results_never_replace_files_of_the_user(name, options, run, detector, tmp_path):
    pets, out = folder_of(tmp_path / "pets", a=["dog"]), tmp_path / "out"
    words = ["--run", detector, "--imdb", pets, "--cpu", "--output", out]
    out.mkdir()
    (out / name).write_text("mine")
    status, text = run("test_net", *words, *options)
    assert status == 2 and f"{out}/{name}: would be overwritten" in text, text
    assert [path.name for path in out.iterdir()] == [name]
    (out / name).unlink()
    for _ in range(2):      # its own files are replaced
        assert run("test_net", *words, *options)[0] == 0


def test_a_data_set_of_other_classes_is_refused_before_the_test(run, detector, tmp_path):
    zoo = folder_of(tmp_path / "zoo", a=["emu"])
    status, text = run("test_net", "--run", detector, "--imdb", zoo, "--cpu")
    assert status == 2 and "none of its objects has a class of the detector, which has cat, dog; they are emu" in text


@pytest.mark.parametrize("test, message", [("zoo", "--test_imdb {}: none of its objects"), ("pets", "1 cat, 0 dog")])
def test_the_classes_of_the_test_set_are_checked_before_training(run, tmp_path, test, message):
    train = folder_of(tmp_path / "train", a=["cat", "dog"])
    tested = folder_of(tmp_path / test, a=["emu"] if test == "zoo" else ["cat"])
    status, text = run("train_faster_rcnn_alt_opt", "--net_name", "Tiny", "--imdb", train, "--test_imdb", tested,
                       "--cpu", "--output", tmp_path / "out", "--models", tmp_path)
    assert status == 2 and message.format(tested) in text, text
    assert ("expected one stage1_rpn" in text) == (test == "pets")


def test_photographs_without_annotations_are_tested(run, detector, tmp_path):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / "bare" / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "bare/JPEGImages/a.jpg"), noise())
    (tmp_path / "bare/ImageSets/Main/test.txt").write_text("a\n")
    status, text = run("test_net", "--run", detector, "--imdb", f"{tmp_path}/bare:test", "--cpu")
    assert status == 0 and "nothing to evaluate against; the detections are in" in text
    assert (detector / "test" / "bare_test" / "detections.npz").is_file()


def test_given_names_never_change_the_order_of_the_classes(run, detector, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), noise())
    words = ["--run", detector, "--cpu", "--thresh", "0.1", "--output", tmp_path / "out"]

    def found(*names):
        status, text = run("demo", *words, "--classes", *names, "--", tmp_path / "a.png")
        return status, text, sorted({line.split()[0] for line in text.splitlines() if " x " in line})
    status, text, labels = found("dog", "cat")
    assert status == 0 and "renamed" not in text and labels == ["cat", "dog"]
    known = [line for line in text.splitlines() if " x " in line]
    status, text, labels = found("Katze", "Hund")
    assert status == 0 and "Classes renamed by --classes: cat -> Katze, dog -> Hund" in text
    assert [line.split()[1:] for line in text.splitlines() if " x " in line] == [line.split()[1:] for line in known]
    status, text, _ = found("cat")
    assert status == 2 and "has 2 classes with the background, the detector has 3: cat, dog" in text


def test_unknown_class_names_are_reported(run, detector, tmp_path):
    (detector / "detector.json").unlink()
    pets = folder_of(tmp_path / "pets", a=["cat", "dog"])
    status, text = run("test_net", *files_of(detector), "--imdb", pets, "--cpu", "--output", tmp_path / "out")
    assert status == 0 and "names are unknown; using those of the data set, in its order: cat, dog" in text
    status, text = run("test_net", *files_of(detector), "--imdb", pets, "--cpu", "--output", tmp_path / "out",
                       "--classes", "dog", "cat")
    assert status == 0 and "are unknown" not in text


# ---- settings
def test_settings_are_found_next_to_the_model(run, detector, tmp_path):
    pets = ["--imdb", folder_of(tmp_path / "pets", a=["cat", "dog"]), "--cpu", "--thresh", "0"]

    def detections(*words):
        status, text = run("test_net", *pets, "--output", tmp_path / "out", *words)
        assert status == 0, text
        return (tmp_path / "out" / "detections.npz").read_bytes(), text
    wanted, _ = detections("--run", detector)
    got, text = detections(*files_of(detector))
    assert got == wanted and f"Settings and class names of the net: {detector}/detector.json" in text
    shutil.copy(detector / "model.caffemodel", tmp_path / "copy.caffemodel")
    got, text = detections("--def", detector / "faster_rcnn_test.pt", "--net", tmp_path / "copy.caffemodel")
    assert got == wanted
    (tmp_path / "mine.yml").write_text("TEST: {RPN_POST_NMS_TOP_N: 7}\n")       # the other settings are the detector's
    detections("--run", detector, "--cfg", tmp_path / "mine.yml")
    assert (cfg.TEST.SCALES, cfg.TEST.RPN_POST_NMS_TOP_N, cfg.PIXEL_STDS.max()) == ((120,), 7, 60)


def test_missing_settings_are_reported_completely(run, detector, tmp_path):
    for name in ("detector.json", "test_cfg.yml"):
        (detector / name).unlink()
    pets = folder_of(tmp_path / "pets", a=["cat", "dog"])
    status, text = run("test_net", *files_of(detector), "--imdb", pets, "--cpu", "--output", tmp_path / "out")
    assert status == 2 and "--cfg FILE (test_cfg.yml in the folder of its run)" in text
    assert "Only if it was trained with TEST.SCALES [600], TEST.MAX_SIZE 1000, PIXEL_MEANS" in text
    cv2.imwrite(str(tmp_path / "a.png"), noise())
    status, text = run("demo", tmp_path / "a.png", *files_of(detector), "--cpu", "--output", tmp_path / "out",
                       "--classes", "cat", "dog")
    assert status == 0 and "says with which settings it was trained" in text and "PIXEL_STDS [1.0, 1.0, 1.0]" in text


def test_a_model_without_a_trained_rpn_needs_proposals(run, detector, tmp_path):
    """The test net's proposals would be random; the user can override the record."""
    settings = {"TEST": {"HAS_RPN": False, "SCALES": [120]}, "PIXEL_STDS": 60}
    (detector / "model.detector.json").write_text(json.dumps({"settings": settings, "classes": None}))
    cv2.imwrite(str(tmp_path / "a.png"), noise())
    pets = folder_of(tmp_path / "pets", a=["cat", "dog"])
    words = [*files_of(detector), "--cpu", "--output", tmp_path / "out", "--classes", "cat", "dog"]
    for tool, options in (("test_net", ["--imdb", pets]), ("demo", ["--", tmp_path / "a.png"])):
        status, text = run(tool, *words, *options)
        assert status == 2 and f"model.caffemodel was trained without an RPN, says {detector}/model.detector" in text
        assert run(tool, *words, "--set", "TEST.HAS_RPN", "True", *options)[0] == 0
    status, text = run("test_net", *words, "--imdb", pets, "--proposals", "p.npz", "--set", "TEST.HAS_RPN", "True")
    assert status == 2 and "--proposals p.npz: would not be used, as the net makes its own" in text


def test_proposals_are_generated_with_the_settings_of_the_run(run, detector, tmp_path):
    net = detector / "rpn_test.pt"
    net.write_text(model_files("Tiny", 3)["Tiny/faster_rcnn_alt_opt/rpn_test.pt"])
    pets = folder_of(tmp_path / "pets", a=["cat", "dog"])
    status, text = run("rpn_generate", "--def", net, "--net", detector / "model.caffemodel", "--imdb", pets, "--cpu",
                       "--output", tmp_path / "p.npz")
    assert status == 0 and f"of the net: {detector}/detector.json" in text
    assert (cfg.TEST.SCALES, cfg.TEST.RPN_PRE_NMS_TOP_N, cfg.TEST.RPN_POST_NMS_TOP_N) == ((120,), -1, 2000)


# ---- nets and weights
def test_anchors_other_than_the_trained_ones_are_refused(run, detector, tmp_path):
    net = detector / "faster_rcnn_test.pt"
    net.write_text(net.read_text().replace("'scales': [2, 4, 8]", "'scales': [1, 2, 4]"))
    pets = folder_of(tmp_path / "pets", a=["cat"])
    for words in (["--run", detector], files_of(detector)):
        status, text = run("test_net", *words, "--imdb", pets, "--cpu")
        assert status == 2 and "faster_rcnn_test.pt:" in text
        assert "(16, (1, 2, 4), (0.5, 1, 2)), those of the trained net (16" in text
    status, text = run("rpn_generate", *files_of(detector), "--imdb", pets, "--cpu", "--output", tmp_path / "p.npz")
    assert status == 2 and "(16, (1, 2, 4), (0.5, 1, 2)), those of the trained net (16" in text


AGNOSTIC = """
layer { name: "pool" type: "ROIPooling" bottom: "conv5_2" bottom: "rois" top: "pool"
        roi_pooling_param { pooled_h: 3 pooled_w: 3 spatial_scale: 0.0625 } }
layer { name: "score" type: "Convolution" bottom: "pool" top: "score"
        convolution_param { num_output: %d kernel_size: 3 } }
layer { name: "cls_prob" type: "Softmax" bottom: "score" top: "cls_prob" }
layer { name: "boxes" type: "InnerProduct" bottom: "pool" top: "bbox_pred" inner_product_param { num_output: %d } }
"""


@pytest.mark.parametrize("scores, boxes, message", [
    (3, 12, ""), (3, 8, ""), (2, 12, "its output cls_prob has 2 columns, expected 3: the run has 3 classes"),
    (4, 16, "its output cls_prob has 4 columns, expected 3"),
    (3, 16, "its output bbox_pred has 16 columns, expected 12, or 8 for boxes that they share")])
def test_outputs_are_checked_whatever_their_layers_are_called(run, detector, tmp_path, scores, boxes, message):
    net = detector / "faster_rcnn_test.pt"
    text = net.read_text()
    net.write_text(text[:text.index("# ---- RoI head")] + AGNOSTIC % (scores, boxes))
    caffe.Net(str(net), caffe.TEST).save(str(detector / "model.caffemodel"))
    cv2.imwrite(str(tmp_path / "a.png"), noise())
    status, text = run("demo", "--run", detector, "--cpu", "--thresh", "0.1", tmp_path / "a.png")
    assert (status, message in text) == (2 if message else 0, True), text
    assert message or ("cat " in text and "dog " in text)


@pytest.mark.parametrize("tool", ["test_net", "demo", "rpn_generate"])
def test_weights_that_are_not_finite(run, detector, tmp_path, tool):
    net = caffe.Net(*map(str, (detector / "faster_rcnn_test.pt", detector / "model.caffemodel")), caffe.TEST)
    net.params["conv3_1"][0].data[0, 0, 0, 0] = np.nan
    net.save(str(detector / "model.caffemodel"))
    pets = folder_of(tmp_path / "pets", a=["cat"])
    words = {"demo": [*files_of(detector), pets]}.get(tool, [*files_of(detector), "--imdb", pets])
    status, text = run(tool, *words, "--cpu", "--output", tmp_path / "out" / "p.npz")
    assert status == 2 and "model.caffemodel: the weights of conv3_1 are NaN or infinite" in text, text


# ---- photographs
def test_the_demo_skips_bad_photographs(run, detector, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        cv2.imwrite(str(photos / f"im{number}.jpg"), noise(number))
    (photos / "im1.jpg").write_bytes(b"")
    (photos / "im2.jpg").write_bytes(b"GIF89a")
    status, text = run("demo", "--run", detector, "--cpu", photos)
    assert status == 2 and "error: 2 of 4 photographs skipped:" in text and text.count("im1.jpg") == 2
    assert sorted(path.name for path in (detector / "pictures").iterdir()) == ["im0.png", "im3.png"]


def test_a_photograph_that_is_scaled_to_nothing_is_named(run, detector, tmp_path):
    thin = tmp_path / "thin.png"
    cv2.imwrite(str(thin), np.zeros((1, 1500, 3), np.uint8))
    status, text = run("demo", "--run", detector, "--cpu", thin)
    assert status == 2 and text.count(f"{thin}: no pixels are left of 1500 x 1") == 2, text


@pytest.mark.parametrize("suffix, encoder", [(".ppm", ".ppm"), (".PNM", ".ppm"), (".jfif", ".jpg"), (".jp2", ".jp2")])
def test_the_demo_finds_photographs_with_unusual_suffixes(tmp_path, suffix, encoder):
    photo = tmp_path / f"a{suffix}"
    photo.write_bytes(cv2.imencode(encoder, noise())[1].tobytes())
    (tmp_path / "notes.txt").write_text("no photograph")
    assert load_tool("demo").image_files([str(tmp_path)]) == [photo]


def test_pictures_never_replace_files_of_the_user(run, detector, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), noise())
    cv2.imwrite(str(tmp_path / "a.jpg"), noise())
    before = (tmp_path / "a.png").read_bytes()
    words = ["--run", detector, "--cpu", tmp_path / "a.jpg", "--output"]
    status, text = run("demo", *words, tmp_path)
    assert status == 2 and f"{tmp_path}/a.png: exists and was not written by this tool" in text
    assert (tmp_path / "a.png").read_bytes() == before and not (tmp_path / "pictures.json").exists()
    assert [run("demo", *words, tmp_path / "out")[0] for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("options", [[], ["--output"]])
def test_pictures_never_replace_their_photographs(options, run, detector, tmp_path):
    folder = detector / "pictures"
    folder.mkdir()
    cv2.imwrite(str(tmp_path / "a.jpg"), noise())
    words = ["--run", detector, "--cpu", *options, *([folder] if options else [])]
    assert run("demo", *words, tmp_path / "a.jpg")[0] == 0
    before = (folder / "a.png").read_bytes()
    status, text = run("demo", *words, tmp_path / "a.jpg", folder / "a.png")
    assert status == 0 and (folder / "a_1.png").is_file()       # equal names get numbers
    status, text = run("demo", *words, folder / "a.png")
    assert status == 2 and f"{folder}/a.png: would be overwritten by its own picture" in text
    assert (folder / "a.png").read_bytes() == before


def test_names_of_pictures_differ(tmp_path):
    from pathlib import Path
    names = ["x/a.jpg", "x/a.png", "x/a_1.png", "y/a_0.jpg", "y/b.jpg"]
    found = [path.name for path in load_tool("demo").picture_names([Path(name) for name in names], tmp_path)]
    assert len(set(found)) == 5 and found[2:] == ["a_1.png", "a_0.png", "b.png"]


def test_the_demo_finds_photographs_of_all_supported_suffixes(tmp_path):
    wanted = sorted(tmp_path / f"a{number}{suffix}" for number, suffix in enumerate(IMAGE_SUFFIXES))
    for path in [*wanted, tmp_path / "B.JFIF", tmp_path / "notes.txt"]:
        path.touch()
    demo = load_tool("demo")
    assert demo.image_files([str(tmp_path)]) == [tmp_path / "B.JFIF", *wanted]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no photographs in .*empty; looked for .*\.jfif .*\.ppm"):
        demo.image_files([str(tmp_path / "empty")])


def test_the_demo_does_not_write_into_the_run_of_make_demo():
    args = load_tool("demo").parser().parse_args(["--run", "x", "a.png"])
    assert args.output is None


def test_the_demo_says_how_near_an_empty_photograph_was(run, detector, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), noise())
    status, text = run("demo", "--run", detector, "--cpu", tmp_path / "a.png", "--thresh", "0.99")
    assert status == 0 and ": 0 objects in " in text and re.search(r"best score 0\.\d\d is below --thresh 0.99", text)


@pytest.mark.parametrize("tool, words", [("demo", ["a.png"]), ("test_net", ["--imdb", "a"]), ("export_detector", [])])
@pytest.mark.parametrize("thresh", ["2", "-0.1", "nan"])
def test_a_threshold_out_of_range(run, detector, tool, words, thresh):
    status, text = run(tool, "--run", detector, *words, "--thresh", thresh)
    assert status == 2 and f"--thresh {thresh}: scores are between 0 and 1" in text


def test_the_demo_of_a_net_that_reads_its_proposals(run, detector, tmp_path):
    net = detector / "faster_rcnn_test.pt"
    rois = 'layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 1 dim: 5 } } }'
    net.write_text(re.sub(r'layer \{[^{}]*name: "proposal".*?\n\}', rois, net.read_text(), flags=re.DOTALL))
    cv2.imwrite(str(tmp_path / "a.png"), noise())
    for setting in ("True", "False"):
        status, text = run("demo", "--run", detector, "--cpu", tmp_path / "a.png", "--set", "TEST.HAS_RPN", setting)
        assert status == 2 and "reads its proposals; a detector that makes its own is needed" in text
        assert "--set" not in text and "--classes" not in text
    pets = folder_of(tmp_path / "pets", a=["cat", "dog"])
    status, text = run("test_net", "--run", detector, "--imdb", pets, "--cpu", "--set", "TEST.HAS_RPN", "False",
                       "TEST.PROPOSAL_METHOD", "gt")
    assert status == 2 and "TEST.PROPOSAL_METHOD is gt" in text


def test_a_net_whose_proposals_a_layer_of_caffe_makes(run, detector, tmp_path):
    net = detector / "faster_rcnn_test.pt"
    param = "proposal_param { scale: 2 scale: 4 scale: 8 ratio: 0.5 ratio: 1 ratio: 2 min_size: 6 }"
    net.write_text(re.sub(r'type: "Python"(.*?)python_param \{[^{}]*\}', rf'type: "Proposal"\1{param}', net.read_text(),
                          flags=re.DOTALL))
    folder_of(tmp_path / "pets", a=["dog"], b=["cat"])
    status, text = run("test_net", "--run", detector, "--imdb", tmp_path / "pets", "--cpu")
    assert status == 0 and "mAP as COCO defines it" in text, text
    status, text = run("demo", "--run", detector, "--cpu", tmp_path / "pets" / "a.png", "--output", tmp_path / "found")
    assert status == 0 and (tmp_path / "found").exists(), text


def test_the_demo_writes_tables(run, detector, tmp_path):
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"im{number}.png"), noise(number))
    out, words = tmp_path / "out", ["--run", detector, "--cpu", "--thresh", "0.1", "--output", tmp_path / "out"]
    status, text = run("demo", *words, "--json", "--csv", "--txt", f"{tmp_path}/im*.png")
    assert status == 0, text
    printed = [line.split() for line in text.splitlines() if " x " in line]
    with open(out / "detections.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    entries = json.loads((out / "detections.json").read_text())
    objects = [(entry["image"], found) for entry in entries for found in entry["objects"]]
    assert len(printed) == len(rows) == len(objects) > 4 and [entry["width"] for entry in entries] == [160, 160]
    for line, row, (image, found) in zip(printed, rows, objects, strict=True):
        assert line[0] == row["label"] == found["label"] and row["image"] == image and row["frame"] == ""
        assert line[1] == f"{float(row['score']):.3f}" and float(row["score"]) == found["score"]
        assert [float(row[side]) for side in ("x1", "y1", "x2", "y2")] == found["box"]
    lines = [line.split() for number in range(2) for line in (out / f"im{number}.txt").read_text().splitlines()]
    assert [(line[0], f"{float(line[1]):.3f}") for line in lines] == [(line[0], line[1]) for line in printed]
    assert sorted(json.loads((out / "pictures.json").read_text())["pictures"]) == [
        "detections.csv", "detections.json", "im0.png", "im0.txt", "im1.png", "im1.txt"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "im1.txt").write_text("mine")
    status, text = run("demo", *words[:-1], tmp_path / "mine", "--txt", f"{tmp_path}/im*.png")
    assert status == 2 and "im1.txt: exists and was not written by this tool" in text


def test_the_demo_draws_videos_and_skips_broken_ones(run, detector, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    writer = cv2.VideoWriter(str(videos / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (160, 120))
    for number in range(4):
        writer.write(noise(number))
    writer.release()
    (videos / "b.mp4").write_bytes(b"no video")
    writer = cv2.VideoWriter(str(tmp_path / "pixel.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (1, 1))
    writer.write(noise()[:1, :1])
    writer.release()
    cv2.imwrite(str(videos / "c.png"), noise())
    out = tmp_path / "out"
    status, text = run("demo", "--run", detector, "--cpu", "--thresh", "0.1", "--output", out, "--csv", "--frames", "3",
                       videos)
    assert status == 2 and f"1 of 3 photographs and videos skipped:\n{videos}/b.mp4: OpenCV " in text, text
    assert "b.mp4: OpenCV cannot open it" in text
    assert "objects in 3 frames, " in text
    assert sorted(path.name for path in out.iterdir()) == ["a.frames.csv", "a.mp4", "c.png", "detections.csv",
                                                            "pictures.json"]
    status, text = run("demo", "--run", detector, "--cpu", "--output", out, tmp_path / "pixel.avi")
    assert status == 2 and text.endswith(f"\n{out}/pixel.mp4: this OpenCV cannot write MP4 videos of 1 x 1 pixels\n")
    capture = cv2.VideoCapture(str(out / "a.mp4"))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (3, 5)
    with open(out / "a.frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["frame"] for row in rows} == {"0", "1", "2"} and {row["label"] for row in rows} <= {"cat", "dog"}
    with open(out / "detections.csv", newline="") as file:
        assert list(csv.DictReader(file))[:len(rows)] == rows


def test_a_missing_camera(run, detector):
    status, text = run("demo", "--run", detector, "--cpu", "77")
    assert status == 2 and "camera 77: OpenCV cannot open it" in text
    assert "1 of 1 cameras skipped:\ncamera 77: OpenCV" in text


def test_tools_are_executable():
    for path in (ROOT / "tools").glob("*.py"):
        assert os.access(path, os.X_OK) == path.read_text().startswith("#!"), path


def test_initial_weights_of_other_classes_are_reported(run, detector, tmp_path):
    for name, labels, told in [("pets", ["cat", "dog"], False), ("birds", ["emu", "owl"], True)]:
        data = folder_of(tmp_path / name, a=labels)
        _, text = run("train_faster_rcnn_alt_opt", "--net_name", "Tiny", "--imdb", data, "--cpu", "--models", tmp_path,
                      "--weights", detector / "model.caffemodel", "--output", tmp_path / "out")
        assert ("is from a detector of cat, dog; if the net has" in text) == told
