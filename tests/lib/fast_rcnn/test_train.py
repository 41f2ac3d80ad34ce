"""Snapshots, checkpoints and the training loop, with a minimal solver and with the real one on a small net."""
import contextlib
import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from other_caffe import Solver

import caffe
from fast_rcnn import train
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import ConfigError, cfg, reset_cfg
from fast_rcnn.train import Hook, SolverWrapper, TrainingStopped, filter_roidb, train_net
from fast_rcnn.train_log import LossError, RecentLosses, TrainLog
from utils.errors import CheckError, NotFiniteError, UserError
from utils.files import DamagedFileError, read_json, read_json_lines

NET = """
layer { name: "data" type: "Python" top: "data" top: "target"
        python_param { module: "train_test_layers" layer: "Numbers" param_str: "'num_classes': 3" } }
layer { name: "drop" type: "Dropout" bottom: "data" top: "drop" }
layer { name: "bbox_pred" type: "InnerProduct" bottom: "drop" top: "bbox_pred"
        inner_product_param { num_output: 12 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "bbox_pred" bottom: "target" top: "loss" }
"""
SOLVER = """
net: "net.pt" base_lr: %g lr_policy: "fixed" momentum: 0.9 display: 2 iter_size: 2 snapshot_prefix: "models/small"
"""
MEANS, STDS = np.linspace(-1, 1, 12), np.linspace(0.1, 2, 12)


@pytest.fixture(autouse=True)
def small_net(tmp_path, monkeypatch):
    """A net that learns box regression from data that depend only on the number of the pass."""
    (tmp_path / "net.pt").write_text(NET)
    (tmp_path / "solver.pt").write_text(SOLVER % 0.01)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train.rdl_roidb, "add_bbox_regression_targets", lambda *args: (MEANS, STDS))
    monkeypatch.setattr(train, "filter_roidb", lambda roidb: roidb)
    caffe.set_mode_cpu()
    caffe.set_random_seed(5)
    yield
    reset_cfg()


def run(tmp_path, name, iterations, **options):
    caffe.set_random_seed(5)        # as the tools do before each run
    log = TrainLog(name, iterations, tmp_path / f"{name}.jsonl")
    return train_net("solver.pt", [], tmp_path / name, max_iters=iterations, log=log, **options)


def weights(path):
    return [blob.data.copy() for blob in caffe.Net("net.pt", caffe.TRAIN, weights=str(path)).params["bbox_pred"]]


@golden("snapshot", "contract")
def test_snapshots_as_recorded(case, tmp_path):
    class Stored:
        def __init__(self, array):
            self.data = array.copy()

    saved = {}
    blobs = [Stored(case.inputs["weights"]), Stored(case.inputs["bias"])]
    net = SimpleNamespace(params={"bbox_pred": blobs},
                          save=lambda path: saved.update(path=path, arrays=[b.data.copy() for b in blobs]))
    wrapper = SolverWrapper.__new__(SolverWrapper)
    stem, iteration = str(case.outputs["filename"])[:-len(".caffemodel")].rsplit("_iter_", 1)
    wrapper.solver = SimpleNamespace(net=net, iter=int(iteration))
    wrapper.solver_param = SimpleNamespace(snapshot_prefix=stem)
    wrapper.output_dir = tmp_path
    wrapper.bbox_means, wrapper.bbox_stds = case.inputs["means"], case.inputs["stds"]
    path = wrapper.snapshot()
    assert os.path.basename(path) == str(case.outputs["filename"]) and saved["path"] == path
    case.check("weights", saved["arrays"][0])
    case.check("bias", saved["arrays"][1])
    np.testing.assert_array_equal(blobs[0].data, case.inputs["weights"])
    np.testing.assert_array_equal(blobs[1].data, case.inputs["bias"])


def test_snapshots_are_named_and_predict_plain_targets(tmp_path):
    cfg.TRAIN.SNAPSHOT_ITERS, cfg.TRAIN.SNAPSHOT_INFIX = 2, "stage1"
    wrapper = SolverWrapper("solver.pt", [], tmp_path / "out")
    paths = wrapper.train_model(5)
    assert [os.path.basename(path) for path in paths] == [
        f"small_stage1_iter_{n}.caffemodel" for n in (2, 4, 5)]
    trained = [blob.data for blob in wrapper.solver.net.params["bbox_pred"]]
    saved = weights(paths[-1])
    np.testing.assert_allclose(saved[0], trained[0] * STDS[:, None], rtol=1e-6)
    np.testing.assert_allclose(saved[1], trained[1] * STDS + MEANS, rtol=1e-6, atol=1e-7)


def test_the_solvers_own_snapshots_are_not_written(tmp_path, capsys):
    (tmp_path / "solver.pt").write_text((SOLVER % 0.01).replace("models/small", "small") + "snapshot: 1")
    mine = tmp_path / "small_iter_1.caffemodel"
    mine.write_text("mine")
    assert [os.path.basename(path) for path in run(tmp_path, "out", 2)] == ["small_iter_2.caffemodel"]
    assert mine.read_text() == "mine" and not list(tmp_path.glob("*.solverstate"))
    assert "Note: solver.pt: snapshot is 1, which has no effect" in capsys.readouterr().out


def test_fine_tuning_a_snapshot_normalises_its_box_regression_again(tmp_path):
    wrapper = SolverWrapper("solver.pt", [], tmp_path / "out")
    path = wrapper.train_model(2)[-1]
    again = SolverWrapper("solver.pt", [], tmp_path / "out", path)
    for mine, theirs in zip(again.solver.net.params["bbox_pred"], wrapper.solver.net.params["bbox_pred"], strict=True):
        np.testing.assert_allclose(mine.data, theirs.data, rtol=1e-5, atol=1e-6)


def test_box_regression_of_a_file_is_normalised_even_if_its_values_are_those_of_the_net(tmp_path):
    caffe.set_random_seed(5)
    caffe.Net("net.pt", caffe.TRAIN).save("same.caffemodel")
    caffe.set_random_seed(5)
    wrapper = SolverWrapper("solver.pt", [], tmp_path / "out", "same.caffemodel")
    np.testing.assert_allclose(wrapper.solver.net.params["bbox_pred"][0].data,
                               weights("same.caffemodel")[0] / STDS[:, None], rtol=1e-6)


def test_initial_weights_of_another_net_are_refused(tmp_path):
    (tmp_path / "other.pt").write_text(NET.replace('"bbox_pred"', '"other"'))
    caffe.Net("other.pt", caffe.TRAIN).save("other.caffemodel")
    with pytest.raises(CheckError, match=r"not one of its layers \(other\) is in net.pt, which has bbox_pred"):
        SolverWrapper("solver.pt", [], tmp_path / "out", "other.caffemodel")


def test_the_data_layer_may_be_anywhere_and_must_take_images(tmp_path):
    constant = 'layer { name: "constant" type: "DummyData" top: "constant" dummy_data_param { shape { dim: 1 } } }\n'
    (tmp_path / "net.pt").write_text(constant + NET)
    assert len(SolverWrapper("solver.pt", [], tmp_path / "out").train_model(1)) == 1
    (tmp_path / "net.pt").write_text(constant + 'layer { name: "sum" type: "Reduction" bottom: "constant" top: "sum" }')
    with pytest.raises(CheckError, match="net.pt: no layer has a method set_roidb"):
        SolverWrapper("solver.pt", [], tmp_path / "out")


def test_a_solver_that_names_its_net_from_a_folder_above_trains_from_anywhere(tmp_path, monkeypatch):
    """As the shipped solvers, which name their nets as models/..."""
    folder, elsewhere = tmp_path / "project" / "models", tmp_path / "elsewhere"
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    (folder / "net.pt").write_text(NET)
    (folder / "solver.pt").write_text(SOLVER.replace("net.pt", "models/net.pt") % 0.01)
    monkeypatch.chdir(elsewhere)
    assert len(SolverWrapper(folder / "solver.pt", [], "out").train_model(1)) == 1
    (folder / "net.pt").write_text(NET.replace('type: "gaussian" std: 0.1', 'type: "constant" value: 1'))
    with pytest.raises(CheckError, match=rf"{folder / 'net.pt'}:5: layer 'bbox_pred'"):
        SolverWrapper(folder / "solver.pt", [], "out")


@pytest.mark.parametrize("key", ["BBOX_REG", "BBOX_NORMALIZE_TARGETS"])
def test_without_normalised_targets_weights_are_saved_as_they_are(tmp_path, key):
    cfg.TRAIN[key] = False
    wrapper = SolverWrapper("solver.pt", [], tmp_path / "out")
    saved = weights(wrapper.train_model(2)[-1])
    np.testing.assert_array_equal(saved[0], wrapper.solver.net.params["bbox_pred"][0].data)


def test_saving_does_not_change_training(tmp_path):
    cfg.TRAIN.SNAPSHOT_ITERS = 1
    often = weights(run(tmp_path, "often", 6)[-1])
    cfg.TRAIN.SNAPSHOT_ITERS = 100
    np.testing.assert_array_equal(often[0], weights(run(tmp_path, "once", 6)[-1])[0])


def test_a_profile_does_not_change_training(tmp_path):
    plain = weights(run(tmp_path, "plain", 8)[-1])
    profiled = weights(run(tmp_path, "profiled", 8, profile=tmp_path / "profile" / "small")[-1])
    for mine, theirs in zip(profiled, plain, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert "bbox_pred " in (tmp_path / "profile" / "small.txt").read_text()


def test_a_stopped_run_resumes_bit_for_bit(tmp_path, monkeypatch):
    straight = weights(run(tmp_path, "straight", 7)[-1])
    checkpoints = Checkpoints(tmp_path / "checkpoints", "run")
    monkeypatch.setattr("train_test_layers.Numbers.stop_at", 7)      # the 8th pass: in iteration 4
    with pytest.raises(TrainingStopped, match="after iteration 4$"):
        run(tmp_path, "stopped", 7, checkpoints=checkpoints)
    monkeypatch.setattr("train_test_layers.Numbers.stop_at", None)
    paths = run(tmp_path, "stopped", 7, checkpoints=Checkpoints(tmp_path / "checkpoints", "run"), resume=True)
    for got, wanted in zip(weights(paths[-1]), straight, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert [record["iteration"] for record in read_json_lines(tmp_path / "stopped.jsonl")] == [1, 2, 4, 6, 7]
    assert not (tmp_path / "checkpoints").exists()


def test_the_two_newest_checkpoints_are_kept_and_only_for_their_run(tmp_path):
    cfg.TRAIN.SNAPSHOT_ITERS = 2
    wrapper = SolverWrapper("solver.pt", [], tmp_path / "out")
    checkpoints = Checkpoints(tmp_path / "checkpoints", "run")
    wrapper.train_model(7, checkpoints=checkpoints)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["checkpoint.json", "iter_4", "iter_6"]
    note = read_json(checkpoints.folder / "checkpoint.json")
    assert note["iteration"] == 6 and note["previous"]["iteration"] == 4
    assert checkpoints.newest().exists()
    assert Checkpoints(checkpoints.folder, "another").newest() is None
    assert Checkpoints(tmp_path / "nothing").newest() is None
    assert wrapper.solver.param.snapshot_prefix.endswith("models/small")


def test_the_log_reports_the_wait_for_data(tmp_path):
    run(tmp_path, "waits", 3)
    assert [record["data"]["queue"] for record in read_json_lines(tmp_path / "waits.jsonl")] == [0.5, 2.5, 4.5]


def test_the_log_has_the_mean_loss_of_the_last_iterations_and_of_all_their_passes(tmp_path):
    def losses(average_loss):
        text = (SOLVER % 1e-9).replace("display: 2", "display: 1")
        (tmp_path / "solver.pt").write_text(f"{text}average_loss: {average_loss}")
        name = f"mean{average_loss}"
        run(tmp_path, name, 4)
        return [record["losses"]["loss"] for record in read_json_lines(tmp_path / f"{name}.jsonl")]

    single, mean = losses(1), losses(3)
    expected = [np.mean(single[max(0, last - 3):last]) for last in range(1, 5)]
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    assert len(set(single)) == 4


def test_all_passes_of_an_iteration_count(tmp_path):
    """The net hardly learns, so two iterations of one pass give the same losses as one iteration of two passes."""
    def loss(iterations, iter_size, average_loss):
        (tmp_path / "solver.pt").write_text((SOLVER % 1e-9).replace("iter_size: 2", f"iter_size: {iter_size}")
                                            + f"average_loss: {average_loss}")
        (tmp_path / "net.pt").write_text(NET.replace("Dropout", "Split"))
        run(tmp_path, "passes", iterations)
        return read_json_lines(tmp_path / "passes.jsonl")[-1]["losses"]["loss"]

    assert loss(1, 2, 1) == pytest.approx(loss(2, 1, 2), rel=1e-5)
    assert loss(1, 2, 1) != pytest.approx(loss(2, 1, 1), rel=1e-3)


def test_other_caffes_give_one_value_per_iteration():
    blob = SimpleNamespace(data=np.array([1.0, 2.0]))
    net = SimpleNamespace(outputs=["loss", "accuracy"], blob_loss_weights={"loss": 2, "accuracy": 0},
                          blobs={"loss": blob})
    losses = RecentLosses(net, 2, 5)
    for value in (9.0, 1.0, 2.0):
        blob.data = np.array([value])
        losses.iteration_done()
    assert losses.means() == {"loss": 1.5} and losses.weights == {"loss": 2}


@pytest.mark.parametrize("diverges", [False, True])
def test_layers_are_closed_at_the_end(tmp_path, monkeypatch, diverges):
    closed = []
    monkeypatch.setattr("train_test_layers.Numbers.close", lambda layer: closed.append(layer))
    (tmp_path / "solver.pt").write_text(SOLVER % (1e30 if diverges else 0.01))
    with pytest.raises(LossError) if diverges else contextlib.nullcontext():
        run(tmp_path, "closed", 3)
    assert len(closed) == 1


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    (tmp_path / "solver.pt").write_text(SOLVER % 1e30)
    with pytest.raises(LossError, match="diverged: the loss is (nan|inf) at iteration 2.*base_lr"):
        run(tmp_path, "diverged", 9)


def test_images_without_usable_rois_are_left_out(monkeypatch, capsys):
    monkeypatch.undo()
    roidb = [{"max_overlaps": np.array(values, np.float32)} for values in ([1.0, 0.2], [0.05], [])]
    assert filter_roidb(roidb) == roidb[:1]
    assert "2 of 3 images have no usable RoI" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no image has a RoI"):
        filter_roidb(roidb[1:])


def test_sigterm_without_checkpoints_stops_too(tmp_path, monkeypatch):
    monkeypatch.setattr("train_test_layers.Numbers.stop_at", 3)
    with pytest.raises(TrainingStopped, match="without a checkpoint") as stopped:
        run(tmp_path, "stopped", 50)
    assert not stopped.value.has_checkpoint and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_sigterm_on_another_caffe_leaves_no_checkpoint_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("train_test_layers.Numbers.stop_at", 3)
    monkeypatch.setattr(caffe, "get_solver", lambda file, make=caffe.get_solver: Solver(make(file)))
    with pytest.raises(TrainingStopped, match="after iteration 2, without a checkpoint") as stopped:
        run(tmp_path, "stopped", 50, checkpoints=Checkpoints(tmp_path / "checkpoints", "run"))
    assert not stopped.value.has_checkpoint and not (tmp_path / "checkpoints").exists()


def stopped_run(tmp_path):
    """Checkpoints of a training stopped after 2 iterations."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", "hash")
    wrapper = SolverWrapper("solver.pt", [], tmp_path)
    wrapper.solver.step(2)
    checkpoints.write(wrapper.solver)
    return checkpoints


@pytest.mark.parametrize("pattern", ["iter_2/*.solverstate", "iter_2/*.caffemodel"])
def test_a_damaged_checkpoint_is_reported_with_what_to_do(tmp_path, pattern):
    checkpoints = stopped_run(tmp_path)
    [file] = checkpoints.folder.glob(pattern)
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(DamagedFileError, match="delete the folder .*checkpoints to train from the start"):
        run(tmp_path, "out", 4, checkpoints=checkpoints, resume=True)


@pytest.mark.parametrize("text", ["{", "{}", '{"state": 3, "run": "hash"}'])
def test_a_damaged_checkpoint_record(tmp_path, text):
    checkpoints = stopped_run(tmp_path)
    (checkpoints.folder / "checkpoint.json").write_text(text)
    with pytest.raises(DamagedFileError, match="checkpoint.json: damaged.*delete the folder"):
        checkpoints.newest()


# ---- damage
def interrupted(tmp_path, monkeypatch, name="stopped"):
    """Checkpoints after iterations 2 and 4 of a stopped training of 7 iterations, and its expected final weights."""
    cfg.TRAIN.SNAPSHOT_ITERS = 2
    straight = weights(run(tmp_path, "straight", 7)[-1])
    checkpoints = Checkpoints(tmp_path / "checkpoints", "run")
    with monkeypatch.context() as patch, pytest.raises(TrainingStopped, match="after iteration 4"):
        patch.setattr("train_test_layers.Numbers.stop_at", 7)
        run(tmp_path, name, 7, checkpoints=checkpoints)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["checkpoint.json", "iter_2", "iter_4"]
    return checkpoints.folder, straight


def flip(path, offset=-20):
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def change_note(folder, **values):
    note = folder / "checkpoint.json"
    note.write_text(json.dumps(read_json(note) | values))


DAMAGE = {
    "weights": lambda folder: flip(folder / "iter_4" / "checkpoint_iter_4.caffemodel"),
    "history": lambda folder: flip(folder / "iter_4" / "checkpoint_iter_4.solverstate"),
    "iteration": lambda folder: flip(folder / "iter_4" / "checkpoint_iter_4.solverstate", 1),
    "shorter": lambda folder: os.truncate(folder / "iter_4" / "checkpoint_iter_4.caffemodel", 50),
    "missing": lambda folder: (folder / "iter_4" / "checkpoint_iter_4.caffemodel").unlink(),
    "noted iteration": lambda folder: change_note(folder, iteration=7),
    "another file": lambda folder: change_note(folder, state="../../elsewhere.solverstate"),
    "no hash": lambda folder: change_note(folder, files={}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_after_damage_training_resumes_from_the_previous_checkpoint(tmp_path, monkeypatch, capsys, kind):
    folder, straight = interrupted(tmp_path, monkeypatch)
    DAMAGE[kind](folder)
    capsys.readouterr()
    paths = run(tmp_path, "stopped", 7, checkpoints=Checkpoints(folder, "run"), resume=True)
    text = capsys.readouterr().out
    assert "resumes from the previous checkpoint" in text and "resumes after iteration 2," in text, text
    assert str(folder) in text
    for got, wanted in zip(weights(paths[-1]), straight, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_both_checkpoints_damaged(tmp_path, monkeypatch):
    folder, _ = interrupted(tmp_path, monkeypatch)
    DAMAGE["weights"](folder)
    flip(folder / "iter_2" / "checkpoint_iter_2.solverstate")
    with pytest.raises(DamagedFileError, match="(?s)iter_4.*damaged.*iter_2.*damaged.*delete the folder"):
        run(tmp_path, "stopped", 7, checkpoints=Checkpoints(folder, "run"), resume=True)


def test_a_checkpoint_of_version_1_is_compared_by_iteration(tmp_path, monkeypatch):
    folder, straight = interrupted(tmp_path, monkeypatch)
    note = read_json(folder / "checkpoint.json")
    note = {key: note[key] for key in ("run", "state", "iteration", "seed")}
    (folder / "checkpoint.json").write_text(json.dumps(note))
    paths = run(tmp_path, "stopped", 7, checkpoints=Checkpoints(folder, "run"), resume=True, keep_checkpoints=True)
    np.testing.assert_array_equal(weights(paths[-1])[0], straight[0])
    flip(folder / "iter_6" / "checkpoint_iter_6.solverstate", 1)
    note = read_json(folder / "checkpoint.json")
    (folder / "checkpoint.json").write_text(json.dumps({key: note[key] for key in ("run", "state", "iteration")}))
    with pytest.raises(DamagedFileError, match="checkpoint_iter_6.solverstate: damaged, it is of iteration 2; delete"):
        run(tmp_path, "stopped", 7, checkpoints=Checkpoints(folder, "run"), resume=True)


def test_a_checkpoint_is_taken_over_from_another_fingerprint(tmp_path, monkeypatch):
    folder, straight = interrupted(tmp_path, monkeypatch)
    checkpoints = Checkpoints(folder, "new")
    checkpoints.take_over("other")
    assert checkpoints.are_of_another_run() and checkpoints.newest() is None
    checkpoints.take_over("run")
    paths = run(tmp_path, "stopped", 7, checkpoints=checkpoints, resume=True)
    for got, wanted in zip(weights(paths[-1]), straight, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_copied_checkpoint_resumes_with_its_own_weights(tmp_path, monkeypatch):
    folder, straight = interrupted(tmp_path, monkeypatch)
    shutil.copytree(folder, tmp_path / "copy")
    for name in ("iter_2/checkpoint_iter_2.caffemodel", "iter_4/checkpoint_iter_4.caffemodel"):
        net = caffe.Net("net.pt", caffe.TRAIN, weights=str(folder / name))
        net.params["bbox_pred"][0].data[...] = 0
        net.save(str(folder / name))
    paths = run(tmp_path, "stopped", 7, checkpoints=Checkpoints(tmp_path / "copy", "run"), resume=True)
    for got, wanted in zip(weights(paths[-1]), straight, strict=True):
        np.testing.assert_array_equal(got, wanted)


# ---- files of others
def test_files_of_the_user_among_checkpoints_stay(tmp_path):
    cfg.TRAIN.SNAPSHOT_ITERS = 1
    folder, elsewhere = tmp_path / "checkpoints", tmp_path / "elsewhere"
    elsewhere.mkdir()
    mine = [folder / "iter_1" / "mine.caffemodel", folder / "iter_9" / "checkpoint_iter_3.caffemodel",
            folder / "iter_best" / "a", folder / "notes.txt", elsewhere / "checkpoint_iter_8.caffemodel"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (folder / "iter_8").symlink_to(elsewhere)
    (folder / "iter_1" / ".checkpoint_iter_1.caffemodel.77.tmp").write_text("left by a kill")
    (folder / "iter_6").mkdir()
    (folder / "iter_6" / "checkpoint_iter_6.caffemodel").write_text("not complete")
    run(tmp_path, "out", 4, checkpoints=Checkpoints(folder, "run"))
    assert [path.read_text() for path in mine] == ["mine"] * 5
    assert sorted(path.name for path in folder.iterdir()) == ["iter_1", "iter_8", "iter_9", "iter_best", "notes.txt"]
    assert [path.name for path in (folder / "iter_1").iterdir()] == ["mine.caffemodel"]


def test_a_snapshot_never_replaces_a_file_of_the_user(tmp_path):
    cfg.TRAIN.SNAPSHOT_ITERS = 2
    run(tmp_path, "out", 4)
    run(tmp_path, "out", 4)         # its own are replaced
    mine, other = tmp_path / "out" / "small_iter_6.caffemodel", tmp_path / "out" / "small_iter_7.caffemodel"
    mine.write_text("mine")
    other.write_text("mine")
    with pytest.raises(UserError, match="holds files that would be overwritten.*: small_iter_6.caffemodel. Choose"):
        run(tmp_path, "out", 8)
    assert mine.read_text() == other.read_text() == "mine"
    mine.unlink()
    run(tmp_path, "out", 8)
    assert other.read_text() == "mine"


# ---- divergence
def test_weights_that_are_not_finite_never_reach_a_file(tmp_path):
    """The loss is not reported before iteration 100; the previous checkpoint is kept."""
    (tmp_path / "solver.pt").write_text((SOLVER % 0.01).replace("display: 2", "display: 100"))
    cfg.TRAIN.SNAPSHOT_ITERS = 2

    class Poison(Hook):
        def after_iteration(self, training):
            if training.iteration == 3:
                training.solver.net.params["bbox_pred"][0].data[1, 2] = np.nan

    checkpoints = Checkpoints(tmp_path / "checkpoints", "run")
    with pytest.raises(LossError, match="the weights of bbox_pred are not finite after iteration 4, and are not saved"):
        run(tmp_path, "out", 9, checkpoints=checkpoints, hooks=[Poison()])
    assert [path.name for path in (tmp_path / "out").glob("*.caffemodel")] == ["small_iter_2.caffemodel"]
    assert read_json(checkpoints.folder / "checkpoint.json")["iteration"] == 2 and checkpoints.newest()


def test_the_iteration_of_a_bad_loss_and_the_layers_are_named(tmp_path):
    (tmp_path / "solver.pt").write_text((SOLVER % 0.01).replace("display: 2", "display: 5"))

    class Poison(Hook):
        def before_iteration(self, training):
            if training.iteration == 2:
                training.solver.net.params["bbox_pred"][1].data[3] = np.inf

    message = (r"out: the loss is (inf|nan) at iteration 3 \(output loss\), the weights of bbox_pred are not finite "
               "after iteration 5: training has diverged. Lower base_lr")
    with pytest.raises(LossError, match=message):
        run(tmp_path, "out", 9, hooks=[Poison()])


def test_a_loss_that_is_not_finite_for_one_iteration_is_reported(tmp_path, monkeypatch):
    losses = RecentLosses(SimpleNamespace(outputs=["loss"], blob_loss_weights={"loss": 1},
                                          blobs={"loss": SimpleNamespace(data=np.array(2.0))}), 1, 1)
    losses.start(20)
    for value in (1.0, np.nan, 3.0):
        losses._net.blobs["loss"].data = np.array(value)
        losses.iteration_done()
    assert losses.means() == {"loss": 3.0}
    assert losses.trouble() == "the loss is nan at iteration 22 (output loss)" and losses.trouble() == ""


def test_initial_weights_that_are_not_finite(tmp_path):
    net = caffe.Net("net.pt", caffe.TRAIN)
    net.params["bbox_pred"][0].data[0, 0] = np.nan
    net.save("nan.caffemodel")
    with pytest.raises(NotFiniteError, match="nan.caffemodel: the weights of bbox_pred are NaN or infinite"):
        SolverWrapper("solver.pt", [], tmp_path, "nan.caffemodel")


def test_a_layer_that_refuses_nan_ends_the_training_with_advice(tmp_path, monkeypatch):
    def forward(layer, bottom, top):
        raise FloatingPointError("Numbers: NaN (lower base_lr)")
    monkeypatch.setattr("train_test_layers.Numbers.forward", forward)
    with pytest.raises(LossError, match=r"^out: iteration 1: Numbers: NaN \(lower base_lr\)$"):
        run(tmp_path, "out", 2)
