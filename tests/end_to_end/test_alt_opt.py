"""Training in four stages on a small data set: complete, interrupted, and with changed inputs."""
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from fast_rcnn.config import reset_cfg
from utils.files import read_json, read_json_lines, sha256_file
from utils.folder_lock import FolderLock, RunError

pytestmark = pytest.mark.slow
FINAL = "Tiny_faster_rcnn_final.caffemodel"
TRAINED = {"stage1_rpn": 12, "stage1_fast_rcnn": 3, "stage2_rpn": 4, "stage2_fast_rcnn": 60}


def models(output):
    return {path.name: sha256_file(path) for path in output.glob("*.caffemodel")}


def wait_until_free(output, seconds=20):
    """Wait until the child of a killed run has ended by itself and released the folder."""
    end = time.monotonic() + seconds
    while True:
        try:
            return FolderLock(output).release()
        except RunError:
            assert time.monotonic() < end
            time.sleep(0.02)


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end and process.poll() is None, "the run ended, or took too long"
        time.sleep(0.005)


def test_a_whole_run_leaves_a_usable_detector(finished_run, demo_data, capsys):
    output, text = finished_run
    assert f"Final model: {output / FINAL}" in text and "writing nets for it" in text
    assert f"Next:\n  test it: python tools/test_net.py --run {output} --imdb {demo_data}:test\n" in text
    assert f"python tools/demo.py --run {output} PHOTO.jpg FOLDER\n" in text
    assert set(models(output)) == {
        "tiny_rpn_stage1_iter_12.caffemodel", "tiny_fast_rcnn_stage1_iter_3.caffemodel",
        "tiny_rpn_stage2_iter_4.caffemodel", "tiny_fast_rcnn_stage2_iter_60.caffemodel", FINAL}
    assert (output / "losses.png").stat().st_size > 1000
    assert not list((output / "checkpoints").glob("*"))
    for step, iterations in TRAINED.items():
        records = read_json_lines(output / "logs" / f"{step}.jsonl")
        assert [record["iteration"] for record in records] == [1, *range(20, iterations, 20), iterations]
    import test_net
    assert test_net.main(["--run", str(output), "--imdb", f"{demo_data}:test", "--cpu", "--profile"]) == 0
    assert "mean AP" in capsys.readouterr().out
    [table] = (output / "test").rglob("profile/test.txt")
    assert "NMS of classes" in table.read_text()
    [page] = (output / "test").rglob("report.html")
    assert all(f"<td>{step}</td>" in page.read_text() for step in ("stage1_proposals", "stage2_proposals"))
    import demo
    pictures = output.parent / "pictures"
    assert demo.main(["--run", str(output), str(demo_data / "JPEGImages" / "scene_00000.jpg"), "--cpu",
                      "--output", str(pictures), "--thresh", "0.1"]) == 0
    assert (pictures / "scene_00000.png").stat().st_size > 1000


def test_the_other_tools_profile_too(finished_run, demo_data, tmp_path):
    import rpn_generate
    import train_net
    output, small = finished_run[0], ["--imdb", f"{demo_data}:test", "--cpu", "--profile"]
    assert rpn_generate.main([*small, "--def", str(output / "models/Tiny/faster_rcnn_alt_opt/rpn_test.pt"), "--net",
                              str(output / FINAL), "--output", str(tmp_path / "some.npz")]) == 0
    assert "data wait" in (tmp_path / "profile" / "some.txt").read_text()
    reset_cfg()
    try:
        assert train_net.main([*small, "--solver", str(output / "models/Tiny/faster_rcnn_end2end/solver.pt"),
                               "--iters", "2", "--output", str(tmp_path / "end2end"),
                               "--cfg", "experiments/cfgs/tiny_end2end.yml", "--set", "TRAIN.SCALES", "(96,)"]) == 0
    finally:
        reset_cfg()
    assert "update" in (tmp_path / "end2end/profile/faster_rcnn_end2end_solver.txt").read_text()


def test_stage_2_keeps_the_convolutions_of_stage_1(finished_run):
    import caffe
    output, _ = finished_run
    net = str(output / "faster_rcnn_test.pt")
    first, last = (caffe.Net(net, caffe.TEST, weights=str(output / name))
                   for name in ("tiny_fast_rcnn_stage1_iter_3.caffemodel", FINAL))
    rpn = caffe.Net(net, caffe.TEST, weights=str(output / "tiny_rpn_stage2_iter_4.caffemodel"))
    for name, blobs in last.params.items():
        if name.startswith("conv"):
            assert (blobs[0].data == first.params[name][0].data).all(), name
        if name.startswith("rpn"):
            assert (blobs[0].data == rpn.params[name][0].data).all(), name


def test_a_second_run_is_refused_and_resuming_a_finished_one_does_nothing(finished_run, trainer):
    output, _ = finished_run
    status, text = trainer.run(output)
    assert status == 2 and "--resume continues it, --restart discards it" in text
    before = models(output)
    status, text = trainer.run(output, "--resume")
    assert status == 0 and text.count(": kept") == 6
    assert models(output) == before


def test_a_profiled_run_that_is_killed_or_interrupted_in_every_stage_reaches_the_same_weights(finished_run, trainer,
                                                                                              tmp_path):
    output, log_path = tmp_path / "run", tmp_path / "printed"
    *killed, interrupted = TRAINED
    with open(log_path, "w") as log:
        for step in killed:
            process = trainer.start(output, "--resume", "--profile", log=log)
            wait_for((output / "checkpoints" / step / "checkpoint.json").exists, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
            if step == "stage1_rpn":        # the other steps may have ended meanwhile
                assert read_json(output / "manifest.json")["steps"][step]["state"] == "running"
            wait_until_free(output)
            assert not (output / FINAL).exists()

        # No periodic checkpoints, but Ctrl-C writes one
        process = trainer.start(output, "--resume", "--profile", settings=["TRAIN.SNAPSHOT_ITERS", "1000"], log=log)
        wait_for((output / "logs" / f"{interrupted}.jsonl").exists, process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    text = log_path.read_text()
    assert "stage1_rpn  resumes after iteration" in text and "Traceback" not in text
    assert "The same command with --resume continues." in text
    assert not (output / FINAL).exists()

    status, text = trainer.run(output, "--resume", "--profile")
    assert status == 0 and f"{interrupted}  resumes after iteration" in text, text
    assert models(output) == models(finished_run[0])
    for step in ("stage1_proposals", "stage2_proposals", "stage2_fast_rcnn"):
        trace = read_json(output / "profile" / f"{step}_trace.json")
        spans = {event["name"] for event in trace["traceEvents"]}
        assert {"iteration", "conv1_1 forward"} <= spans
        assert "data wait" in spans and ("update" in spans) == ("proposals" not in step)
        table = (output / "profile" / f"{step}.txt").read_text()
        assert "conv1_1 " in table and "outside of layers" in table
    assert "Profile of iterations" in text and f"{output}/profile/stage2_fast_rcnn.txt" in text


def test_steps_whose_inputs_changed_are_repeated_and_reported(finished_run, trainer, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(finished_run[0], output)
    status, text = trainer.run(output, "--resume", settings=["TRAIN.BATCH_SIZE", "8"])
    assert status == 0, text
    for kept in ("stage1_rpn", "stage1_proposals"):
        assert f"{kept}  is done" in text and f"{kept}  is repeated" not in text
    assert "stage1_fast_rcnn  is repeated: cfg.TRAIN.BATCH_SIZE: 16 -> 8" in text
    assert "stage2_rpn  is repeated: " in text


def test_a_larger_number_of_iterations_continues_a_finished_step(finished_run, trainer, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(finished_run[0], output)
    status, text = trainer.run(output, "--resume", "--max_iters", "12", "3", "4", "80")
    assert status == 0, text
    assert text.count(": kept") == 5
    assert ("stage2_fast_rcnn  continues from its end, iteration 60: max_iters: 60 -> 80; solver: stepsize 45 -> 60"
            in text), text
    assert "stage2_fast_rcnn  resumes after iteration 60" in text and "iter 80/80" in text
    assert set(models(output)) - set(models(finished_run[0])) == {"tiny_fast_rcnn_stage2_iter_80.caffemodel"}
    before = models(output)
    status, text = trainer.run(output, "--resume", "--max_iters", "12", "3", "4", "80")
    assert status == 0 and text.count(": kept") == 6 and models(output) == before, text


def test_validation_keeps_the_best_models_and_does_not_change_the_training(finished_run, trainer, demo_data, tmp_path):
    output = tmp_path / "run"
    status, text = trainer.run(output, "--val_imdb", f"{demo_data}:test", "--val_every", "20")
    assert status == 0, text
    found, plain = models(output), models(finished_run[0])
    best = {name for name in found if name.endswith("_best.caffemodel")}
    assert len(best) == 4 and {name: found[name] for name in found.keys() - best} == plain
    for step, iterations in TRAINED.items():
        lines = read_json_lines(output / "validation" / f"{step}.jsonl")
        assert [line["iteration"] for line in lines] == [*range(20, iterations, 20), iterations]
        assert set(lines[0]["figures"]) == ({"AR", "recall"} if "rpn" in step else {"AP50", "AP"})
    assert "stage2_fast_rcnn  validation after iteration 60: AP50 " in text
    assert "step 6 of 6, all done in 0:00:00" in text
    import test_net
    assert test_net.main(["--def", str(output / "faster_rcnn_test.pt"), "--net",
                          str(output / "tiny_fast_rcnn_stage2_best.caffemodel"), "--cpu", "--imdb",
                          f"{demo_data}:test", "--output", str(tmp_path / "test")]) == 0


def test_a_step_stops_early_and_the_next_ones_follow(trainer, demo_data, tmp_path):
    output = tmp_path / "run"
    status, text = trainer.run(output, "--val_imdb", f"{demo_data}:test", "--val_every", "1", "--patience", "1")
    assert status == 0, text
    assert "stops after iteration" in text and (output / FINAL).exists()


def test_a_step_that_dies_is_reported_at_once(trainer, tmp_path):
    output = tmp_path / "run"
    with open(tmp_path / "printed", "w") as log:
        process = trainer.start(output, log=log)
        wait_for((output / "logs" / "stage1_rpn.jsonl").exists, process)
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(child, signal.SIGKILL)
        assert process.wait(timeout=20) == 1
    text = (tmp_path / "printed").read_text()
    assert "stage1_rpn died (killed by SIGKILL, perhaps out of memory). Its last lines:" in text
    assert f"Log: {output}/logs/stage1_rpn.log" in text and "--resume" in text
    assert read_json(output / "manifest.json")["steps"]["stage1_rpn"]["state"] == "running"
