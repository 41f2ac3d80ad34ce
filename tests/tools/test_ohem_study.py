"""experiments/benchmarks/ohem_study.py with fake runs and a tiny real one; its results are in ohem_study.md."""
import dataclasses
import importlib
from xml.etree import ElementTree

import numpy as np
import pytest

import caffe
from checks.nets import check_test_net, check_train_net
from datasets.factory import get_imdb
from fast_rcnn.config import set_cfg
from roi_data_layer.layer import OHEMDataLayer
from roi_data_layer.ohem import roi_losses
from utils import prototxt
from utils.errors import UserError

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "ohem_study"


@pytest.fixture
def part(program):
    """Imports a module of the study."""
    return lambda name: importlib.import_module(f"study.{name}")


# ---- conditions
def test_references_come_before_what_is_compared_with_them(part):
    conditions = part("conditions").CONDITIONS
    seen = []
    for name, condition in conditions.items():
        assert set(condition.references) <= set(seen), f"{name} comes before one of its references"
        seen.append(name)
    assert part("conditions").comparisons(["ohem", "random", "ohem_64"]) == [("ohem", "random"), ("ohem_64", "ohem")]


def test_settings_of_a_condition_in_words(part):
    words = {name: condition.words() for name, condition in part("conditions").CONDITIONS.items()}
    assert words["random"] == "USE_OHEM False, FG_FRACTION 0.25, BG_THRESH_LO 0.1"
    assert words["ohem_half"] == "USE_OHEM True, base_lr x 0.5"
    assert words["ohem_missing"] == "USE_OHEM True, 10% of the boxes removed"
    assert words["ohem_class"] == "USE_OHEM True, rule HardByClass"
    assert words["joint_warm_up"] == "USE_OHEM True, OHEM_WARMUP 500, end to end"


# ---- statistics
def test_a_paired_difference_by_hand(part):
    """Differences 1, 2, 3, 4: mean 2.5, s^2 = 5 / 3; with t(3) = 3.1824 from tables, t * sqrt(5 / 12) = 2.0543."""
    found = part("statistics").paired_difference({4: 24.0, 1: 11.0, 2: 22.0, 3: 3.0, 9: 7.0},
                                                 {1: 10.0, 2: 20.0, 3: 0.0, 4: 20.0})
    assert (found.mean, found.pairs) == (2.5, 4)
    assert found.half_width == pytest.approx(2.0543, abs=1e-4) and found.is_clear


def test_few_pairs(part):
    paired_difference = part("statistics").paired_difference
    single = paired_difference({1: 0.5}, {1: 0.25, 2: 1.0})
    assert (single.mean, single.half_width, single.pairs, single.is_clear) == (0.25, float("inf"), 1, False)
    with pytest.raises(ValueError, match="no seed in common"):
        paired_difference({1: 0.5}, {2: 0.5})
    assert part("statistics").deviation({1: 1.0, 2: 3.0}) == pytest.approx(2 ** 0.5)


# ---- data sets
def test_removed_boxes(part, tmp_path):
    counts = {"a": 3, "b/c": 1, "d": 6, "e": 0}
    for name, count in counts.items():
        objects = "".join(f"<object><name>cat</name><pose>{name}{index}</pose></object>" for index in range(count))
        path = tmp_path / "Annotations" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<annotation><size><width>7</width></size>{objects}</annotation>")
    before = {name: (tmp_path / "Annotations" / f"{name}.xml").read_text() for name in counts}
    remove = part("data_sets").remove_boxes
    assert remove(tmp_path / "Annotations", tmp_path / "less", list(counts), 0.3) == (3, 10)
    left = []
    for name in counts:
        root = ElementTree.parse(tmp_path / "less" / f"{name}.xml").getroot()
        assert root.findtext("size/width") == "7"
        left += [pose.text for pose in root.iter("pose")]
        assert (tmp_path / "Annotations" / f"{name}.xml").read_text() == before[name]
    assert len(left) == 7 and set(left) < {f"{name}{index}" for name, count in counts.items() for index in range(count)}
    first = {path: path.read_text() for path in (tmp_path / "less").rglob("*.xml")}
    remove(tmp_path / "Annotations", tmp_path / "less", list(counts), 0.3)
    assert {path: path.read_text() for path in first} == first


def test_data_sets_of_the_study(part, demo_data, tmp_path):
    sets = part("data_sets").make_data_sets(demo_data, tmp_path, False, 0.25)
    train, test, lacking = (get_imdb(name) for name in (sets.train, sets.test, sets.incomplete))
    whole = get_imdb(f"{demo_data}:trainval")
    assert sorted([*train.image_index, *test.image_index]) == sorted(whole.image_index)
    assert (sets.num_train, sets.num_test) == (5, 1) == (train.num_images, test.num_images)
    assert train.classes == test.classes == lacking.classes == whole.classes
    assert train.zero_based == lacking.zero_based == whole.zero_based
    assert lacking.image_index == train.image_index
    assert lacking.image_path_at(0) == train.image_path_at(0)        # so they share cached features
    numbers = [sum(len(entry["boxes"]) for entry in imdb.gt_roidb()) for imdb in (train, lacking)]
    assert numbers == [sets.num_boxes, sets.num_boxes - sets.removed] and sets.removed == round(0.25 * numbers[0])


def test_final_runs_use_trainval_and_test(part, demo_data, tmp_path):
    sets = part("data_sets").make_data_sets(demo_data, tmp_path, True, 0.1)
    for ours, theirs in ((sets.train, "trainval"), (sets.test, "test")):
        assert list(get_imdb(ours).image_index) == list(get_imdb(f"{demo_data}:{theirs}").image_index)


def test_another_layout_is_refused(part, tmp_path):
    with pytest.raises(UserError, match="expected a data set in VOC's layout"):
        part("data_sets").make_data_sets(tmp_path, tmp_path / "out", False, 0.1)


# ---- nets and settings
def make_task(part, folder, data_set, **changes):
    sets = part("data_sets").make_data_sets(data_set, folder / "data", False, 0.1)
    settings = {"TRAIN.SCALES": (120,), "TEST.SCALES": (120,), "NUM_WORKERS": 0, "TRAIN.RPN_POST_NMS_TOP_N": 40,
                "PIXEL_STDS": np.full((1, 1, 3), 60.0)}
    values = dict(data=sets, folder=folder, net="Tiny", weights=None, settings=settings,
                  sizes=part("runs").Sizes(fc6=16, fc7=16), iterations=(2, 2), rates=None, device=["--cpu"])
    return part("runs").Task(**{**values, **changes})


@pytest.fixture
def task(part, demo_data, tmp_path):
    task = make_task(part, tmp_path, demo_data)
    part("runs").make_nets("Tiny", 5, tmp_path / "nets", (2, 2, 2, 2), task.sizes)
    return task


def test_every_condition_passes_the_checks_and_starts_from_the_same_weights(part, task, tmp_path):
    runs, rates, weights = part("runs"), {}, {}
    for name, condition in part("conditions").CONDITIONS.items():
        solver = runs._write_solver(task, condition, tmp_path / name)
        if condition.end_to_end:
            settings = task.joint_settings(condition.ohem, dict(condition.settings), 7)
            assert settings.RNG_SEED == 7 and settings.TRAIN.HAS_RPN and settings.TRAIN.USE_OHEM == condition.ohem
            assert prototxt.read_solver(solver).stepsize == 1
        else:
            settings = task.stage_settings("fast_rcnn", condition.ohem, dict(condition.settings), 7)
            assert settings.RNG_SEED == 507 and settings.TRAIN.PROPOSAL_METHOD == "rpn"
        assert settings.TRAIN.BG_THRESH_LO == (0.1 if name in ("random", "random_half", "random_missing") else 0)
        assert check_train_net(prototxt.net_of_solver(solver), settings.TRAIN, 5) == []
        set_cfg(settings)
        caffe.set_random_seed(settings.RNG_SEED)
        params = caffe.get_solver(str(solver)).net.params
        weights[name] = [params[layer][0].data.tolist() for layer in ("fc6", "fc7", "cls_score", "bbox_pred")]
        rates[name] = prototxt.read_solver(solver).base_lr
    joint = [name for name in weights if name.startswith("joint")]
    for first, names in (("random", weights.keys() - joint), ("joint", joint)):
        assert all(weights[name] == weights[first] for name in names)
    assert [rates.pop(name) for name in joint] == pytest.approx([0.01] * len(joint))
    halved = [rates.pop(name) for name in ("random_half", "random_lo0_half", "ohem_half")]
    assert halved == pytest.approx([0.0025] * 3) and rates == dict.fromkeys(rates, pytest.approx(0.005))


def test_learning_rates_of_the_command_line(part, demo_data, tmp_path, task):
    fast = make_task(part, tmp_path, demo_data, rates=(0.1, 0.02))
    solver = part("runs")._write_solver(fast, part("conditions").CONDITIONS["ohem_half"], tmp_path / "a")
    assert prototxt.read_solver(solver).base_lr == pytest.approx(0.01)


def test_the_test_net_has_no_rpn(part, task, tmp_path):
    path = tmp_path / "test.pt"
    detector = task.nets(ohem=True).detector_test
    path.write_text(part("nets").fast_rcnn_test_net(detector))
    assert check_test_net(path, 5) == []
    whole, net = caffe.Net(str(detector), caffe.TEST), caffe.Net(str(path), caffe.TEST)
    assert sorted(net.inputs) == ["data", "rois"] and sorted(net.outputs) == ["bbox_pred", "cls_prob"]
    assert not [name for name in net.params if name.startswith("rpn")]
    rng = np.random.default_rng(1)
    for name, blobs in net.params.items():
        for ours, theirs in zip(blobs, whole.params[name], strict=True):
            ours.data[...] = theirs.data[...] = 0.1 * rng.standard_normal(ours.data.shape)
    image = rng.standard_normal((1, 3, 48, 64)).astype(np.float32)
    whole.blobs["data"].reshape(*image.shape)
    found = whole.forward(data=image, im_info=np.array([[48, 64, 1]], np.float32))
    rois = whole.blobs["rois"].data.copy()
    for name, values in {"data": image, "rois": rois}.items():
        net.blobs[name].reshape(*values.shape)
    again = net.forward(data=image, rois=rois)
    for name in ("cls_prob", "bbox_pred"):
        np.testing.assert_array_equal(again[name], found[name])


@pytest.mark.parametrize("name, with_boxes", [("OHEMDataLayer", True), ("HardByClass", False)])
def test_the_rule_ranks_without_the_box_loss(part, name, with_boxes):
    from fast_rcnn.config import cfg
    cfg.TRAIN.update(BATCH_SIZE=4, OHEM_USE_NMS=False)
    rng = np.random.default_rng(5)
    count, classes = 9, 3
    labels, inside = rng.integers(0, 3, (count, 1)), np.zeros((count, 12), np.float32)
    for row, label in enumerate(labels[:, 0]):
        inside[row, 4 * label:4 * label + 4] = label > 0
    values = [rng.dirichlet(np.ones(classes), count), 3 * rng.random((count, 12)), rng.random((count, 5)), labels,
              rng.random((count, 12)), inside, inside]
    bottom, top = [caffe.Blob() for _ in values], [caffe.Blob() for _ in range(5)]
    for blob, array in zip(bottom, values, strict=True):
        blob.set_data(np.asarray(array, np.float32))
    layer = OHEMDataLayer() if with_boxes else part("mining_rules").HardByClass()
    layer.param_str = "'num_classes': 3"
    layer.setup(bottom, top)
    layer.forward(bottom, top)
    prob, pred, rois, labels, *boxes = (blob.data for blob in bottom)
    by_class, by_both = roi_losses(prob, labels), roi_losses(prob, labels, pred, *boxes)
    assert list(np.argsort(-by_class)[:4]) != list(np.argsort(-by_both)[:4])
    expected = np.argsort(-(by_both if with_boxes else by_class))[:4]
    np.testing.assert_array_equal(top[0].data, rois[expected])
    assert layer.stats["hard"] == pytest.approx(by_both[expected].mean())


# ---- keeping results
def test_results_are_cached(part, tmp_path):
    note, output, calls = tmp_path / "step.json", tmp_path / "model", []

    def work():
        calls.append(None)
        output.write_text("weights")
        return {"ap50": 0.5}

    def stopped():
        raise KeyboardInterrupt

    kept = part("runs").kept
    with pytest.raises(KeyboardInterrupt):
        kept(note, {"seed": 1}, stopped, output)
    for _ in range(2):
        assert kept(note, {"seed": 1}, work, output) == {"ap50": 0.5} and len(calls) == 1
    kept(note, {"seed": 2}, work, output)
    output.unlink()
    kept(note, {"seed": 2}, work, output)
    assert len(calls) == 3


def test_an_interrupted_training_resumes_unless_its_inputs_changed(part, task, tmp_path, monkeypatch):
    runs, starts, first = part("runs"), [], part("runs").FirstStage(*[tmp_path / "proposals.npz"] * 2)
    first.train.write_bytes(b"")

    def interrupted(folder, name, settings, tool, *options):
        starts.extend({"--resume", "--restart"}.intersection(options))
        raise KeyboardInterrupt
    monkeypatch.setattr(runs, "_run_tool", interrupted)
    longer = dataclasses.replace(task, iterations=(3, 9))
    for each in (task, task, longer, longer):
        with pytest.raises(KeyboardInterrupt):
            runs.run(each, "ohem", part("conditions").CONDITIONS["ohem"], 1, first)
    assert starts == ["--restart", "--resume", "--restart", "--resume"]


# ---- the program, with fake runs
@pytest.fixture
def fake(program, monkeypatch):
    """Fakes the runs: AP50 grows by about 0.1 from condition to condition run; returns the list of calls."""
    calls, names = [], []

    def run(task, name, condition, seed, first):
        calls.append((task.folder.name, name, seed))
        if name not in names:
            names.append(name)
        return {"ap50": 0.5 + 0.02 * seed + 0.1 * names.index(name) * (1 + 0.1 * seed)}
    monkeypatch.setattr(program, "first_stage", lambda task: None)
    monkeypatch.setattr(program, "run", run)
    return calls


def arguments(data, tmp_path, *more):
    return [str(data), "--net", "Tiny", "--cpu", "--output", str(tmp_path / "out"), "--report",
            str(tmp_path / "report" / "study.md"), *more]


def test_the_report(program, fake, demo_data, tmp_path, capsys):
    assert program.main(arguments(demo_data, tmp_path, "--seeds", "1", "2", "--conditions", "random", "random_lo0",
                                  "ohem", "ohem_64")) == 0
    assert fake[:5] == [("demo", name, 1) for name in ("random", "random_lo0", "ohem", "ohem_64")] + [
        ("demo", "random", 2)]
    text = (tmp_path / "report" / "study.md").read_text()
    assert "| OHEM | USE_OHEM True | random RoIs; random RoIs, all background |" in text
    assert "Tiny, 5 photographs to train on and 1 to test on; 1500 iterations of the RPN, 1500 of Fast R-CNN" in text
    assert "| random RoIs | 2 | 53.0 ± 1.4 |" in text
    # differences 0.22 and 0.24: t(1) = 12.706, times 0.01
    assert "| OHEM | random RoIs | 2 | **+23.0 ± 12.7** |" in text
    assert "| OHEM | random RoIs, all background | 2 | **+11.5 ± 6.4** |" in text
    assert "AP75 |" not in text and "![differences](study_demo.png)" in text
    assert (tmp_path / "report" / "study_demo.png").read_bytes().startswith(b"\x89PNG")
    assert text in capsys.readouterr().out


def test_only_figures_that_every_run_has_are_reported(part):
    runs = {(name, seed): {"ap50": 0.5 * seed, "ap75": 0.2, "ap": 0.3 + (0.1 if name == "ohem" else 0)}
            for name in ("random", "ohem") for seed in (1,)}
    found = part("report").Results("cats", "", runs)
    assert part("report").means_table(found)[0] == "| condition | seeds | AP50 | AP75 | AP |"
    assert part("report").differences_table(found)[2] == "| OHEM | random RoIs | 1 | +0.0 | +0.0 | +10.0 |"
    del runs["ohem", 1]["ap"]
    assert found.figures() == ["ap50", "ap75"]


def test_the_cost_of_missing_boxes(part):
    """OHEM loses 0.03 and 0.05, random RoIs 0.01 and 0.02: 0.02 and 0.03 more; t(1) = 12.706, times 0.005."""
    lost = {"random": (0, 0), "random_missing": (0.01, 0.02), "ohem": (0, 0), "ohem_missing": (0.03, 0.05)}
    runs = {(name, seed): {"ap50": 0.5 + 0.1 * seed - lost[name][seed]}
            for name in lost for seed in (0, 1)}
    cost = part("report").cost_of_missing_boxes
    assert cost(part("report").Results("cats", "", runs)) == [
        "", "Missing boxes change OHEM by this much more than random RoIs: AP50 -2.5 ± 6.4."]
    del runs["random", 0], runs["random", 1]
    assert cost(part("report").Results("cats", "", runs)) == []


def test_an_interrupted_study_says_so(program, fake, demo_data, tmp_path, monkeypatch, capsys):
    run = program.run

    def stopping(task, name, condition, seed, first):
        if name == "ohem":
            raise KeyboardInterrupt
        return run(task, name, condition, seed, first)
    monkeypatch.setattr(program, "run", stopping)
    assert program.main(arguments(demo_data, tmp_path)) == 130
    assert "Stopped. The same command resumes." in capsys.readouterr().err
    assert "| random RoIs | 1 | 52.0 |" in (tmp_path / "report" / "study.md").read_text()


@pytest.mark.parametrize("words, message", [
    (["--net", "Huge"], "there is no such net"), (["--weights", "none.caffemodel"], "there is no file none.caffemodel"),
    (["--set", "TRAIN.SCALE", "3"], "unknown key TRAIN.SCALE")])
def test_mistakes(program, fake, demo_data, tmp_path, capsys, words, message):
    assert program.main(arguments(demo_data, tmp_path, *words)) == 2
    assert message in capsys.readouterr().err and not fake


def test_two_data_sets_of_one_name(program, fake, demo_data, tmp_path, capsys):
    assert program.main([str(demo_data), *arguments(demo_data, tmp_path)]) == 2
    assert "two data sets have the same name" in capsys.readouterr().err


def test_final_runs_have_their_own_folder(program, fake, demo_data, tmp_path):
    assert program.main(arguments(demo_data, tmp_path, "--final", "--seeds", "1", "--conditions", "ohem")) == 0
    assert fake == [("demo_final", "ohem", 1)]
    text = (tmp_path / "report" / "study.md").read_text()
    assert "## demo_final" in text and "6 photographs to train on and 2 to test on" in text and "![" not in text


def test_a_folder_in_use(program, fake, demo_data, tmp_path, capsys):
    with program.FolderLock(tmp_path / "out" / "demo"):
        assert program.main(arguments(demo_data, tmp_path)) == 2
    assert "is in use by process" in capsys.readouterr().err and not fake


# ---- a real run
@pytest.mark.slow
def test_a_real_run_is_cached(part, demo_data, tmp_path, capfd):
    task = make_task(part, tmp_path, demo_data)
    condition = part("conditions").CONDITIONS["ohem_class"]
    first = part("runs").first_stage(task)
    found = part("runs").run(task, "ohem_class", condition, 1, first)
    assert 0 <= found["ap50"] <= 1
    assert "all RoIs" in capfd.readouterr().out
    assert part("runs").run(task, "ohem_class", condition, 1, part("runs").first_stage(task)) == found
    assert not capfd.readouterr().out
    assert len(list((tmp_path / "ohem_class_1").glob("*.caffemodel"))) == 1
    assert (tmp_path / "ohem_class_1" / "test" / "detections.npz").is_file()
