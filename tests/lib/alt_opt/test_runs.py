"""Runs whose steps only write files: what the driver records, keeps, replaces and deletes."""
import os
import shutil
import signal
import sys

import pytest
from test_alt_opt_setup import contents, prepare  # noqa: F401  (fixtures)

from alt_opt import driver
from alt_opt.driver import train_alt_opt
from alt_opt.manifest import Manifest
from alt_opt.plan import STEPS
from utils.errors import UserError
from utils.files import DamagedFileError, read_json, sha256_json, write_json
from utils.folder_lock import RunError

STEP = f"""
import hashlib, json, os, signal, sys
sys.path.insert(0, {str(driver.Path(driver.__file__).parents[1])!r})
from pathlib import Path
from utils.own_files import OwnFiles
job = json.loads(Path(sys.argv[1]).read_text())
output = Path(job["output"])
print("training", job["name"], flush=True)
with open(output.parent / "done", "a") as file:
    file.write(job["name"] + " ")
if job["kind"] == "proposals":
    path = output / (Path(job["weights"]).stem + "_proposals.npz")
else:
    stage = job["name"].split("_")[0]
    path = output / f"tiny_{{job['kind']}}_{{stage}}_iter_{{job['max_iters']}}.caffemodel"
    record = {{"iteration": 1, "stage": job["name"], "loss": 1, "losses": {{"a": 1}}, "lr": 1, "seconds": 1}}
    Path(job["log"]).write_text(json.dumps(record) + chr(10))
    folder = Path(job["checkpoints"], "iter_1")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint_iter_1.caffemodel").write_text("x")
    assert path.name in OwnFiles(output).names()
    end = Path(job["end_state"])
    state = f"iter_{{job['max_iters']}}/checkpoint_iter_{{job['max_iters']}}.solverstate"
    (end / state).parent.mkdir(parents=True, exist_ok=True)
    (end / state).write_text("end")
    note = {{"iteration": job["max_iters"], "run": job["run_hash"], "state": state,
            "files": {{state: hashlib.sha256(b"end").hexdigest()}}}}
    (end / "checkpoint.json").write_text(json.dumps(note))
    notes = Path(job["checkpoints"], "checkpoint.json")
    if notes.exists() and json.loads(notes.read_text())["run"] == job["run_hash"]:
        print("resumes", json.loads(notes.read_text())["state"], flush=True)
content = json.dumps([job["run_hash"], job["name"]]).encode()
path.write_bytes(content)
Path(job["result"]).write_text(json.dumps({{"path": str(path), "run": job["run_hash"],
                                          "sha256": hashlib.sha256(content).hexdigest()}}))
if os.environ.get("STOP_IN") == job["name"]:
    signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
    os.kill(os.getppid(), signal.SIGINT)
    signal.pause()
"""


@pytest.fixture
def start(prepare, tmp_path, monkeypatch):      # noqa: F811
    """Starts a run in tmp_path/out; returns the names of the steps that ran."""
    monkeypatch.setattr(driver, "dry_run", lambda run, steps: None)

    def go(*options, restart=False, **more):
        run = prepare(*options, **more)
        run.command = [sys.executable, "-c", STEP]
        (tmp_path / "done").unlink(missing_ok=True)
        train_alt_opt(run, restart)
        return (tmp_path / "done").read_text().split() if (tmp_path / "done").exists() else []
    return go


NAMES = [step.name for step in STEPS]


@pytest.mark.slow
def test_files_of_the_user_stay(start, tmp_path):
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir(parents=True)
    mine = [output / "features" / "notes.txt", output / "features" / "0123456789abcdef" / "mine.npy",
            output / "checkpoints" / "mine", output / "checkpoints" / "stage1_rpn" / "iter_1" / "best.caffemodel",
            output / "tiny_rpn_stage1_iter_77.caffemodel", elsewhere / "x"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (output / "features" / "fedcba9876543210").symlink_to(elsewhere)
    assert start() == NAMES
    assert start("--resume") == []
    assert start("--restart", restart=True) == NAMES
    assert [path.read_text() for path in mine] == ["mine"] * len(mine)
    assert not list(output.rglob("checkpoint_iter_1.caffemodel"))


@pytest.mark.parametrize("name", [
    "Tiny_faster_rcnn_final.caffemodel", "faster_rcnn_test.pt", "detector.json", "losses.png", "test_cfg.yml",
    "logs/stage1_rpn.log", "logs/stage2_rpn.jsonl", "steps/stage1_rpn.json", "tiny_rpn_stage1_iter_6.caffemodel",
    "tiny_rpn_stage1_iter_6.detector.json", "tiny_rpn_stage2_iter_6_proposals.npz"])
@pytest.mark.slow
def test_files_of_the_user_with_our_names_are_refused_before_anything_is_written(start, tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    target = tmp_path / "precious"
    target.write_text("mine")
    path.symlink_to(target)
    with pytest.raises(UserError, match=f"not made by a run in it: {name}. Choose another --output"):
        start()
    assert target.read_text() == "mine" and not (tmp_path / "done").exists()


@pytest.mark.slow
def test_a_run_of_version_1_which_has_no_record_of_its_files_is_resumed(start, tmp_path):
    start()
    (tmp_path / "out" / "own_files.json").unlink()
    assert start("--resume") == []
    assert start("--restart", restart=True) == NAMES


def test_the_first_resume_of_a_run_of_version_1_repeats_nothing(start, prepare, tmp_path, monkeypatch):    # noqa: F811
    """That version did not record the images' content; this one does from the first resume on."""
    output, note = tmp_path / "out", tmp_path / "out" / "checkpoints" / "stage2_proposals" / "checkpoint.json"
    monkeypatch.setenv("STOP_IN", "stage2_rpn")
    with pytest.raises(KeyboardInterrupt):
        start()
    monkeypatch.delenv("STOP_IN")
    manifest, run = Manifest(output), prepare("--resume")
    run.lock.release()
    for name, step in manifest.steps.items():
        manifest.replace_inputs(name, {**step["inputs"], "data set": run.annotation_digest})
    manifest.start("stage2_proposals", manifest.steps["stage2_rpn"]["inputs"])      # as if it had a checkpoint
    write_json(note, {"run": sha256_json(manifest.steps["stage2_proposals"]["inputs"]), "state": "x"})
    monkeypatch.setattr(driver, "_do_step", lambda run, step, manifest: pytest.fail(f"{step.name} is done"))
    with pytest.raises(pytest.fail.Exception, match="stage2_proposals is done"):
        start("--resume")
    inputs = Manifest(output).steps["stage2_proposals"]["inputs"]
    assert inputs["data set"] == run.data_digest != run.annotation_digest
    assert read_json(note) == {"run": sha256_json(inputs), "state": "x"}


@pytest.mark.slow
def test_a_detector_is_kept_until_its_successor_is_complete(start, tmp_path, monkeypatch):
    output = tmp_path / "out"
    start()
    before = {path: path.read_bytes() for path in output.iterdir() if path.is_file() and path.name != "lock"}
    monkeypatch.setenv("STOP_IN", "stage2_rpn")
    with pytest.raises(KeyboardInterrupt):
        start("--resume", "--set", "TRAIN.BATCH_SIZE", "8")
    for name in ("detector.json", "Tiny_faster_rcnn_final.caffemodel", "faster_rcnn_test.pt", "test_cfg.yml"):
        assert (output / name).read_bytes() == before[output / name], name
    monkeypatch.delenv("STOP_IN")
    assert start("--resume", "--set", "TRAIN.BATCH_SIZE", "8") == ["stage2_proposals", "stage2_fast_rcnn"]
    assert (output / "Tiny_faster_rcnn_final.caffemodel").read_bytes() != before[
        output / "Tiny_faster_rcnn_final.caffemodel"]
    assert read_json(output / "detector.json")["model"] == "Tiny_faster_rcnn_final.caffemodel"


@pytest.mark.slow
def test_a_kill_while_the_detector_is_replaced_leaves_no_mixed_detector(start, tmp_path, monkeypatch):
    start()
    replace = os.replace

    def killed(source, target):
        if str(target).endswith("final.caffemodel"):
            raise SystemExit("killed")
        replace(source, target)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(os, "replace", killed)
        start("--resume", "--set", "TRAIN.BATCH_SIZE", "8")
    assert not (tmp_path / "out" / "detector.json").exists()
    assert start("--resume", "--set", "TRAIN.BATCH_SIZE", "8") == []
    assert (tmp_path / "out" / "detector.json").exists()


@pytest.mark.slow
def test_an_extended_step_continues_from_its_end(start, tmp_path, capsys):
    output, longer = tmp_path / "out", {"iterations": ("8", "4", "6", "4")}
    start()
    capsys.readouterr()
    assert start("--resume", **longer) == NAMES
    text = capsys.readouterr().out
    assert "stage1_rpn  continues from its end, iteration 6: max_iters: 6 -> 8; solver: stepsize 4 -> 6" in text
    assert "resumes iter_6/checkpoint_iter_6.solverstate" in (output / "logs" / "stage1_rpn.log").read_text()
    assert "stage1_proposals  is repeated: weights: it starts from others" in text
    assert Manifest(output).steps["stage1_rpn"]["inputs"]["goes on from"] == "6"
    assert start("--resume", **longer) == []
    assert start("--resume", iterations=("10", "4", "6", "4")) == NAMES
    assert Manifest(output).steps["stage1_rpn"]["inputs"]["goes on from"] == "6 8"


@pytest.mark.slow
@pytest.mark.parametrize("iterations, how, resumes", [
    ("8", "continues from its checkpoint, iteration 6", True), ("5", "is repeated", False)])
def test_an_interrupted_step_continues_if_it_is_to_train_longer(start, tmp_path, capsys, iterations, how, resumes):
    output = tmp_path / "out"
    start()
    manifest = Manifest(output)
    step = manifest.steps["stage1_rpn"]
    manifest.start("stage1_rpn", step["inputs"], step["solver"], step["imdb"])      # interrupted after iteration 6
    shutil.copytree(output / "end_states" / "stage1_rpn", output / "checkpoints" / "stage1_rpn", dirs_exist_ok=True)
    capsys.readouterr()
    assert start("--resume", iterations=(iterations, "4", "6", "4")) == NAMES
    assert f"stage1_rpn  {how}: max_iters: 6 -> {iterations}" in capsys.readouterr().out
    log = (output / "logs" / "stage1_rpn.log").read_text()
    assert ("resumes iter_6/checkpoint_iter_6.solverstate" in log) == resumes
    assert Manifest(output).steps["stage1_rpn"]["inputs"].get("goes on from") == ("6" if resumes else None)


@pytest.mark.parametrize("options, iterations", [
    ((), ("5", "4", "6", "4")), (("--lr", "0.5"), ("8", "4", "6", "4")),
    (("--set", "TRAIN.RPN_BATCHSIZE", "32"), ("8", "4", "6", "4"))])
@pytest.mark.slow
def test_a_step_is_repeated_if_it_is_shorter_or_more_has_changed(start, tmp_path, capsys, options, iterations):
    start()
    assert start("--resume", *options, iterations=iterations) == NAMES
    assert "stage1_rpn  is repeated: " in capsys.readouterr().out
    assert "goes on from" not in Manifest(tmp_path / "out").steps["stage1_rpn"]["inputs"]


@pytest.mark.parametrize("damage", [lambda folder: shutil.rmtree(folder), lambda folder: (
    folder / "iter_6" / "checkpoint_iter_6.solverstate").write_text("x")])
@pytest.mark.slow
def test_a_step_without_its_end_state_is_repeated(start, tmp_path, capsys, damage):
    start()
    damage(tmp_path / "out" / "end_states" / "stage1_rpn")
    assert start("--resume", iterations=("8", "4", "6", "4")) == NAMES
    assert "stage1_rpn  is repeated: max_iters: 6 -> 8" in capsys.readouterr().out


@pytest.mark.slow
def test_files_named_outside_of_the_run_are_not_touched(start, tmp_path):
    start()
    output, precious = tmp_path / "out", tmp_path / "precious"
    precious.write_text("mine")
    for name in ("../precious", str(precious)):
        write_json(output / "detector.json", read_json(output / "detector.json") | {"model": name})
        assert start("--resume", "--set", "TRAIN.BATCH_SIZE", "8" if name.startswith("..") else "16")
        assert precious.read_text() == "mine"
    manifest = read_json(output / "manifest.json")
    manifest["steps"]["stage1_rpn"]["outputs"]["model"]["path"] = "../precious"
    write_json(output / "manifest.json", manifest)
    with pytest.raises(DamagedFileError, match="manifest.json: damaged, its step 'stage1_rpn'.*lies outside of"):
        start("--resume")


def test_a_stop_in_the_last_iteration_of_a_step_stops_the_run(start, tmp_path, monkeypatch):
    monkeypatch.setenv("STOP_IN", "stage1_fast_rcnn")
    with pytest.raises(KeyboardInterrupt):
        start()
    manifest = Manifest(tmp_path / "out")
    assert [manifest.state(name) for name in NAMES] == ["done"] * 3 + ["pending"] * 3
    monkeypatch.delenv("STOP_IN")
    assert start("--resume") == NAMES[3:]


@pytest.mark.parametrize("step", ["stage1_rpn", "stage1_proposals", "stage2_fast_rcnn"])
@pytest.mark.slow
def test_a_step_that_finished_after_the_driver_was_killed_is_not_repeated(start, tmp_path, monkeypatch, step, capsys):
    def killed(manifest, name, outputs):
        if name == step:
            raise SystemExit("killed")
        finish(manifest, name, outputs)
    finish = Manifest.finish
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Manifest, "finish", killed)
        start()
    output = tmp_path / "out"
    checkpoints = list(output.rglob("checkpoint_iter_1.caffemodel"))
    assert len(checkpoints) == (step != "stage1_proposals")     # the checkpoint is deleted last
    if step == "stage2_fast_rcnn":
        moved = tmp_path / "moved"
        shutil.move(output, moved)
        shutil.move(moved, output)
    assert start("--resume") == NAMES[NAMES.index(step) + 1:]
    assert f"{step}  had ended when the run was killed: kept" in capsys.readouterr().out
    assert not list(output.rglob("checkpoint_iter_1.caffemodel"))


def test_a_damaged_result_of_an_unrecorded_step_is_not_kept(start, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Manifest, "finish", lambda *arguments: sys.exit("killed"))
        start()
    model = tmp_path / "out" / "tiny_rpn_stage1_iter_6.caffemodel"
    model.write_bytes(b"damaged")
    assert start("--resume") == NAMES


def test_replaced_pixels_are_another_data_set(start, tmp_path, demo_data, capsys):
    data = tmp_path / "demo"
    shutil.copytree(demo_data, data)
    words = ["--imdb", f"{data}:trainval"]
    assert start(*words) == NAMES
    image = data / "JPEGImages" / "scene_00001.jpg"
    os.utime(image)         # touched or copied: only the content counts
    assert start("--resume", *words) == []
    shutil.copy(data / "JPEGImages" / "scene_00002.jpg", image)
    assert start("--resume", *words) == NAMES
    assert "stage1_rpn  is repeated: data set:" in capsys.readouterr().out


@pytest.mark.parametrize("name, hint", [("decoded_images.json", "delete it to have the images decoded again"),
                                        ("image_digests.json", "delete it to have the images read again"),
                                        ("models/written.json", "delete it, and the nets beside it")])
@pytest.mark.parametrize("text", ["{", "[]", '{"a": 7}', "\xff"])
def test_damaged_records_are_named(start, tmp_path, name, hint, text):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DamagedFileError, match=f"{name}: damaged.*{hint}"):
        start()
    assert path.read_text(encoding="latin-1") == text


def test_signals_arrive_as_interrupts_between_steps(start, tmp_path, monkeypatch):
    from utils.child_process import terminations_as_interrupts
    finish = Manifest.finish

    def closed(manifest, name, outputs):
        finish(manifest, name, outputs)
        os.kill(os.getpid(), signal.SIGHUP)
    monkeypatch.setattr(Manifest, "finish", closed)
    with pytest.raises(KeyboardInterrupt), terminations_as_interrupts():
        start()
    assert Manifest(tmp_path / "out").state("stage1_rpn") == "done"


def test_a_result_outside_of_the_run_is_not_recorded(tmp_path):
    manifest = Manifest(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "model").write_text("")
    manifest.start("stage1_rpn", {})
    with pytest.raises(RunError, match="lies outside of"):
        manifest.finish("stage1_rpn", {"model": tmp_path / "model"})
