"""The training tool up to, but not including, the first step: what it reads, writes, refuses and keeps."""
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import train_faster_rcnn_alt_opt as tool

import caffe
from alt_opt.driver import step_inputs, train_alt_opt
from alt_opt.dry_run import dry_run
from alt_opt.manifest import Manifest
from alt_opt.plan import STEPS
from alt_opt.setup import make_run
from commands.data_set import suggest_validation_set
from datasets.demo_scenes import CLASSES
from datasets.factory import get_imdb
from fast_rcnn.config import cfg, plain
from net_definitions import model_files
from utils import prototxt
from utils.child_process import ChildDied
from utils.errors import CheckError, UserError
from utils.files import write_json
from utils.folder_lock import FolderLock, RunError
from utils.own_files import OwnFiles

ROOT = Path(__file__).resolve().parents[3]
SOLVER = "models/Tiny/faster_rcnn_alt_opt/stage1_rpn_solver60k80k.pt"
pytestmark = pytest.mark.usefixtures("default_settings")


@pytest.fixture
def prepare(tmp_path, demo_data):
    """Starts a run of 6, 4, 6 and 4 iterations in tmp_path/out with further options; its steps would fail."""
    opened = []

    def make(*options, iterations=("6", "4", "6", "4"), output=True):
        run = make_run(tool.parser().parse_args([
            "--net_name", "Tiny", "--imdb", f"{demo_data}:trainval", "--cpu",
            *(["--max_iters", *iterations] if iterations else []),
            *(["--output", str(tmp_path / "out")] if output else []), *map(str, options)]))
        run.command = ["false"]
        opened.append(run.lock)
        return run
    yield make
    for lock in opened:
        lock.release()


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.pt")}


# ---- settings
@pytest.mark.parametrize("options, folder, nets", [
    ([], "tiny", "faster_rcnn_alt_opt"),
    (["--no_ohem"], "tiny_no_ohem", "faster_rcnn_alt_opt_no_ohem"),
    (["--set", "TRAIN.USE_OHEM", "False"], "tiny_no_ohem", "faster_rcnn_alt_opt_no_ohem"),
    (["--cfg", ROOT / "experiments/cfgs/faster_rcnn_alt_opt_no_ohem.yml"], "faster_rcnn_alt_opt_no_ohem",
     "faster_rcnn_alt_opt_no_ohem"),
    (["--cfg", ROOT / "experiments/cfgs/faster_rcnn_alt_opt.yml"], "faster_rcnn_alt_opt", "faster_rcnn_alt_opt"),
    (["--no_ohem", "--set", "EXP_DIR", "mine"], "mine_no_ohem", "faster_rcnn_alt_opt_no_ohem"),
])
@pytest.mark.slow
def test_hard_example_mining_can_be_chosen_by_settings_and_has_its_own_folder(prepare, tmp_path, options, folder, nets):
    words = [*options, *([] if "--set" in options else ["--set"]), "ROOT_DIR", tmp_path]
    run = prepare(*words, output=False)
    assert run.output == tmp_path / "output" / folder / "demo_trainval" / "Tiny"
    assert run.nets.folder.name == nets
    assert run.settings["stage1_fast_rcnn"]["TRAIN"]["USE_OHEM"] is not nets.endswith("no_ohem")


def test_options_that_contradict_each_other(prepare):
    with pytest.raises(UserError, match="--no_ohem and --set TRAIN.USE_OHEM True"):
        prepare("--no_ohem", "--set", "TRAIN.USE_OHEM", "True")


def test_folders_of_nets_and_weights_are_those_of_the_settings(prepare, tmp_path, demo_data):
    shutil.copytree(ROOT / "models" / "Tiny", tmp_path / "nets" / "Tiny")
    edited = tmp_path / "nets" / "Tiny" / "faster_rcnn_alt_opt" / "stage2_rpn_train.pt"
    edited.write_text(edited.read_text() + "# mine\n")
    words = ["--set", "MODELS_DIR", tmp_path / "nets"]
    prepare(*words).lock.release()
    with pytest.raises(UserError, match=f"there is no file {tmp_path}/imagenet_models/ZF.v2.caffemodel"):
        make_run(tool.parser().parse_args(["--net_name", "ZF", "--imdb", f"{demo_data}:trainval", "--set", "DATA_DIR",
                                           str(tmp_path)]))


# ---- images
def test_images_of_both_data_sets_are_decoded_once(prepare, tmp_path, demo_data, capsys):
    words = ["--test_imdb", f"{demo_data}:test"]
    prepare(*words).lock.release()
    text = capsys.readouterr().out
    assert "decoding images once: 6/6" in text and "decoding images once: 2/2" in text
    prepare(*words)
    assert "decoding images once" not in capsys.readouterr().out


def test_a_split_to_validate_on_is_named(prepare, tmp_path, demo_data, capsys):
    data = tmp_path / "data"
    shutil.copytree(demo_data, data)
    (data / "ImageSets" / "Main" / "test.txt").rename(data / "ImageSets" / "Main" / "val.txt")
    (data / "ImageSets" / "Main" / "trainval.txt").rename(data / "ImageSets" / "Main" / "train.txt")
    prepare("--imdb", f"{data}:train")
    told = f"To measure the models on a split of its own while they train: --val_imdb {data}:val\n"
    assert told in capsys.readouterr().out
    for tested, line in ((f"{data}:train", told), (f"{data}:val", "")):
        suggest_validation_set(get_imdb(f"{data}:train"), f"{data}:train", get_imdb(tested))
        assert capsys.readouterr().out == line


def test_results_of_another_data_set_are_reported_before_training(prepare, tmp_path, demo_data):
    results = tmp_path / "out" / "test" / "demo_test"
    write_json(results / "data_set.json", {"data set": f"{demo_data}:trainval"})
    with pytest.raises(UserError, match=f"{results} holds results of {demo_data}:trainval, not of {demo_data}:test"):
        prepare("--test_imdb", f"{demo_data}:test")


# ---- nets in the output folder
def test_a_refused_command_changes_nothing(prepare, tmp_path, demo_data):
    running = prepare()
    before = contents(tmp_path)
    with pytest.raises(RunError, match="is in use by process"):
        prepare("--resume", iterations=("8", "8", "8", "8"))
    manifest = Manifest(running.output)
    manifest.start("stage1_rpn", {})
    running.lock.release()
    with pytest.raises(RunError, match="holds a run already"):
        prepare(iterations=("8", "8", "8", "8"))
    assert contents(tmp_path) == before
    prepare("--resume", iterations=("8", "8", "8", "8"))
    assert "stepsize: 6\n" in (tmp_path / "out" / SOLVER).read_text()


def test_the_folder_is_released_after_an_error(prepare, tmp_path):
    with pytest.raises(CheckError, match="expected one"):
        prepare("--models", tmp_path)
    FolderLock(tmp_path / "out").release()


def test_edited_nets_are_kept_or_the_command_is_refused(prepare, tmp_path, capsys):
    prepare().lock.release()
    solver = tmp_path / "out" / SOLVER
    solver.write_text(solver.read_text().replace("base_lr: 0.02", "base_lr: 0.03"))
    prepare("--resume").lock.release()
    assert "base_lr: 0.03" in solver.read_text() and f"Kept as you have edited it: {solver}" in capsys.readouterr().out
    before = contents(tmp_path)
    with pytest.raises(CheckError, match=f"{solver}: was edited since it was written\nThis command would write some"):
        prepare("--restart", iterations=("8", "8", "8", "8"))
    assert contents(tmp_path) == before
    solver.unlink()
    prepare("--resume", iterations=("8", "8", "8", "8"))
    assert "base_lr: 0.02" in solver.read_text()


def test_files_that_were_not_written_by_the_tool_are_not_overwritten(prepare, tmp_path):
    (tmp_path / "out" / SOLVER).parent.mkdir(parents=True)
    (tmp_path / "out" / SOLVER).write_text("mine")
    with pytest.raises(CheckError, match="was edited since it was written"):
        prepare()
    assert contents(tmp_path) == {tmp_path / "out" / SOLVER: b"mine"}


def test_a_run_with_shipped_nets_without_mining_resumes_with_generated_ones(prepare, tmp_path, demo_data):
    """Earlier versions had them in models/; if the iterations are those they were made for, nothing is repeated."""
    data, classes = tmp_path / "data.yml", [*CLASSES, *(f"class{number}" for number in range(16))]
    write_json(data, {"root": str(demo_data), "images": "JPEGImages", "annotations": "Annotations", "classes": classes,
                      "image_sets": {"trainval": "ImageSets/Main/trainval.txt"}})
    for name, text in model_files("Tiny").items():
        (tmp_path / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "models" / name).write_text(text)
    words = ["--no_ohem", "--imdb", f"{data}:trainval", "--resume"]
    iterations = ("800", "400", "800", "400")
    before = prepare(*words, "--set", "MODELS_DIR", tmp_path / "models", iterations=iterations)
    before.lock.release()
    after = prepare(*words, iterations=iterations)
    assert (before.nets.folder, after.nets.folder) == tuple(
        folder / "models" / "Tiny" / "faster_rcnn_alt_opt_no_ohem" for folder in (tmp_path, tmp_path / "out"))
    dry_run(after, STEPS)
    manifest = Manifest(tmp_path / "manifest")
    manifest.steps = {step.name: {"outputs": {step.output: {"sha256": ""}}} for step in STEPS}
    for step in STEPS:
        assert step_inputs(after, step, manifest) == step_inputs(before, step, manifest)


def test_edited_shipped_nets_that_have_no_effect_are_reported(prepare, tmp_path, capsys):
    shutil.copytree(ROOT / "models" / "Tiny", tmp_path / "nets" / "Tiny")
    words = ["--set", "MODELS_DIR", tmp_path / "nets"]
    prepare(*words).lock.release()
    assert "edited, which has no effect" not in capsys.readouterr().out
    edited = tmp_path / "nets" / "Tiny" / "faster_rcnn_alt_opt" / "stage2_rpn_train.pt"
    edited.write_text(edited.read_text() + "# mine\n")
    prepare(*words)
    assert f"Note: {edited}: edited, which has no effect on nets for 5 classes." in capsys.readouterr().out


@pytest.mark.slow
def test_the_solver_of_a_copied_net_is_run_with_the_copy(prepare, tmp_path):
    made = prepare()
    made.lock.release()
    shutil.copytree(tmp_path / "out" / "models", tmp_path / "mine")
    run = prepare("--models", tmp_path / "mine", "--resume")
    copy = tmp_path / "steps" / "stage1_rpn_solver.pt"
    solver = run.nets.solver_to_run("stage1_rpn", copy)
    assert solver == copy
    assert f'train_net: "{tmp_path}/mine/Tiny/faster_rcnn_alt_opt/stage1_rpn_train.pt"' in solver.read_text()
    assert made.nets.solver_to_run("stage1_rpn", copy) == tmp_path / "out" / SOLVER
    dry_run(run, STEPS)


@pytest.mark.slow
def test_epochs_and_learning_rates_of_the_command_line(prepare, tmp_path, capsys):
    run = prepare("--epochs", "3", "--lr", "0.5", "0.25", "0.125", "0.0625", iterations=None)
    assert run.nets.max_iters == dict.fromkeys(run.nets.max_iters, 18)
    text = capsys.readouterr().out
    assert "stage1_fast_rcnn: 3 epochs of 12 images (6 and their mirror images) are 18 iterations" in text
    assert "base_lr 0.02 -> 0.5" in text
    solver = run.nets.solver_to_run("stage2_rpn", tmp_path / "steps" / "solver.pt")
    assert solver == tmp_path / "steps" / "solver.pt"
    assert prototxt.read_solver(solver).base_lr == 0.125 and prototxt.read_solver(solver).stepsize == 13
    dry_run(run, STEPS)


def test_the_learning_rate_of_unchanged_nets_falls_before_the_end_too(prepare, tmp_path, capsys):
    for name, text in model_files("Tiny", 5, folder=str(tmp_path / "mine")).items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(text)
    run = prepare("--models", tmp_path / "mine", iterations=("100", "400", "6", "4"))
    steps = {step: run.nets.solver_param(step).stepsize for step in run.nets.max_iters}
    assert steps == {"stage1_rpn": 75, "stage1_fast_rcnn": 300, "stage2_rpn": 4, "stage2_fast_rcnn": 3}
    text = capsys.readouterr().out
    assert "stage1_rpn_solver60k80k.pt:8: the learning rate falls for the first time after 600 iterations" in text
    assert "This run trains with stepsize 600 -> 75" in text and "Warning" not in text


# ---- before the first step
def edit(run, name, old, new):
    path = run.nets.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.slow
def test_all_nets_are_built_and_their_errors_reported_together(prepare, tmp_path):
    run = prepare()
    later = edit(run, "stage2_fast_rcnn_train.pt", 'type: "SmoothL1Loss"', 'type: "SmoothL2Loss"')
    rpn = edit(run, "rpn_test.pt", 'type: "Softmax"', 'type: "Sofmax"')
    final = edit(run, "faster_rcnn_test.pt", "num_output: 256", "num_output: 255")
    with pytest.raises(CheckError) as caught:
        train_alt_opt(run)
    text = str(caught.value)
    assert f"{later}:" in text and "SmoothL2Loss" in text and f"{rpn}:" in text and "Sofmax" in text
    assert "255" not in text        # initial weights, which could not be loaded
    assert not (tmp_path / "out" / "manifest.json").exists()
    edit(run, "stage2_fast_rcnn_train.pt", "SmoothL2Loss", "SmoothL1Loss")
    with pytest.raises(CheckError) as caught:
        dry_run(run, STEPS)
    assert f"{final}:" in str(caught.value) and "layer 'fc6': its weights have the shapes [[255" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name, old, new, message", [
    ("faster_rcnn_test.pt", 'name: "fc7"', 'name: "fc_7"',
     "layer 'fc_7': stage2_fast_rcnn trains no layer of this name, so that it would have no weights"),
    ("rpn_test.pt", 'top: "scores"', 'top: "marks"', "has no output scores"),
    ("stage2_rpn_train.pt", 'name: "conv1_1"', 'name: "conv_1_1"',
     "rpn_test.pt:21: layer 'conv1_1': stage2_rpn trains no layer of this name"),
    ("stage2_fast_rcnn_train.pt", 'name: "rpn_conv/3x3"', 'name: "rpn_conv_3x3"',
     r"stage2_fast_rcnn_train.pt:\d+: layer 'rpn_conv_3x3': stage2_rpn trains no layer of this name"),
])
def test_nets_must_match(prepare, name, old, new, message):
    run = prepare()
    edit(run, name, old, new)
    with pytest.raises(CheckError, match=message):
        dry_run(run, STEPS)


@pytest.mark.parametrize("patience", [[], ["--patience", "2"]])
def test_what_a_validation_measures_is_an_input_only_where_it_may_stop_a_step(prepare, tmp_path, demo_data, patience):
    def inputs(*settings):
        run = prepare("--val_imdb", f"{demo_data}:test", *patience, "--set", "RNG_SEED", "3", *settings)
        run.lock.release()
        return run, [step_inputs(run, step, Manifest(tmp_path)) for step in (STEPS[0], steps[2])]

    steps = [dataclasses.replace(step, proposals=None) for step in STEPS]
    _, first = inputs()
    _, others = inputs("TEST.NMS", "0.4")
    run, _ = inputs()
    edit(run, "faster_rcnn_test.pt", "pooled_w: 7", "pooled_w: 5")
    edit(run, "rpn_test.pt", 'top: "scores"', 'top: "marks"')
    edited = [step_inputs(run, step, Manifest(tmp_path)) for step in (STEPS[0], steps[2])]
    assert [first[0] != others[0], first[1] != others[1]] == [bool(patience)] * 2
    assert [first[0] != edited[0], first[1] != edited[1]] == [bool(patience)] * 2


@pytest.mark.parametrize("prefix, name", [('snapshot_prefix: "a/mine"', "mine_stage2_iter_N"),
                                          ("", "net_stage2_iter_N")])
def test_models_of_two_steps_need_different_names(prepare, prefix, name):
    run = prepare()
    first = edit(run, "stage2_rpn_solver60k80k.pt", 'snapshot_prefix: "tiny_rpn"', prefix)
    second = edit(run, "stage2_fast_rcnn_solver30k40k.pt", 'snapshot_prefix: "tiny_fast_rcnn"', prefix)
    run.lock.release()
    with pytest.raises(CheckError, match=rf"{second}:\d+: its models would be named {name}, as those of stage2_rpn:"):
        prepare("--models", first.parent)


def save_random(net_file, path):
    net = caffe.Net(str(net_file), caffe.TEST)
    for blobs in net.params.values():
        blobs[0].data[...] = np.random.default_rng(1).normal(size=blobs[0].data.shape)
    net.save(str(path))


@pytest.mark.slow
def test_initial_weights_are_loaded_first(prepare, tmp_path):
    other, same = tmp_path / "other.caffemodel", tmp_path / "same.caffemodel"
    net = tmp_path / "smaller.pt"
    text = (ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt" / "faster_rcnn_test.pt").read_text()
    net.write_text(text.replace("num_output: 256", "num_output: 255"))
    save_random(net, other)
    run = prepare("--weights", other)
    with pytest.raises(CheckError, match="(?s)stage1_fast_rcnn_train.pt.*layer 'fc6', blob 0: expected shape.*"
                                         "or give --skip_unfitting"):
        dry_run(run, STEPS)
    run.skip_unfitting = True
    dry_run(run, STEPS)
    save_random(ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt" / "faster_rcnn_test.pt", other)
    run.skip_unfitting = False          # of 21 classes: the layers for the classes are skipped
    dry_run(run, STEPS)
    save_random(run.nets.detector_test, same)
    run.weights = same
    assert cfg.EXP_DIR == "tiny"
    dry_run(run, STEPS)
    assert plain(cfg) == plain(run.settings["stage2_fast_rcnn"]) and cfg.EXP_DIR == "tiny"


@pytest.mark.slow
@pytest.mark.parametrize("restart", [True, False])
def test_an_old_detector_is_kept_until_its_successor_replaces_it(prepare, tmp_path, restart):
    run = prepare("--restart" if restart else "--resume")
    model, note = run.output / run.final_name, run.output / "detector.json"
    OwnFiles(run.output).adopt([model.name, note.name])
    model.write_bytes(b"")
    write_json(note, {"model": model.name})
    edit(run, "rpn_test.pt", 'type: "Softmax"', 'type: "Sofmax"')
    with pytest.raises(CheckError):
        train_alt_opt(run, restart)
    assert note.exists() and model.exists()     # nothing has started
    edit(run, "rpn_test.pt", 'type: "Sofmax"', 'type: "Softmax"')
    run.lock = FolderLock(run.output)
    with pytest.raises(ChildDied):
        train_alt_opt(run, restart)
    assert note.exists() and model.exists()     # nothing has replaced it
