"""`caffe train` and `caffe test` from end to end."""
import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import caffe
from caffe.engine.device import precision, use_precision
from caffe.engine.files.caffemodel import read_weights


def weights(path):
    return {name: arrays for name, arrays in read_weights(path) if arrays}


def test_train_writes_a_model_next_to_the_solver_file(project, run, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))     # the net is found next to the solver file
    printed = run("train", "-solver", project / "solver.prototxt").err
    assert "Iteration 4 (" in printed and "Done: 6 iterations" in printed
    assert ("PyTorch sees no CUDA GPU" in printed) != caffe.has_gpu()
    assert sorted(path.name for path in project.glob("solver_*")) == [
        "solver_iter_6.caffemodel", "solver_iter_6.solverstate"]


def test_a_run_resumes_from_a_snapshot(project, run):
    solver = project / "solver.prototxt"
    solver.write_text(solver.read_text() + f'snapshot: 3 snapshot_prefix: "{project}"')     # a folder
    run("train", "--solver", solver)
    os.unlink(project / "solver_iter_6.caffemodel")
    printed = run("train", "--solver", solver, f"--snapshot={project}/solver_iter_3.solverstate").err
    assert "restored iteration 3" in printed and "Iteration 4, lr" in printed and "Iteration 2," not in printed
    assert (project / "solver_iter_6.caffemodel").is_file()


def test_an_empty_snapshot_is_none(project, run):
    assert "Iteration 0, lr" in run("train", "-solver", project / "solver.prototxt", "-snapshot=").err


def test_training_starts_from_the_given_weights(project, run):
    run("train", "-solver", project / "solver.prototxt")
    start = project / "start.caffemodel"
    os.rename(project / "solver_iter_6.caffemodel", start)
    solver = project / "solver.prototxt"
    solver.write_text(solver.read_text().replace("max_iter: 6", "max_iter: 0"))
    run("train", "-solver", solver, "-weights", f"{start},{start}")
    np.testing.assert_array_equal(weights(project / "solver_iter_0.caffemodel")["fc"][0], weights(start)["fc"][0])


def test_precision(project, run, bfloat16_everywhere):
    solver, trained = project / "solver.prototxt", {}
    with use_precision("float32"):          # the flag changes it for the whole process
        for name in ("bfloat16", "float32"):
            printed = run("train", "-solver", solver, *["-precision", name] * (name != "float32")).err
            assert ("Precision: bfloat16" in printed) == (name == "bfloat16") and precision() == name
            trained[name] = weights(project / "solver_iter_6.caffemodel")["conv"][0]
    assert 0 < np.abs(trained["bfloat16"] - trained["float32"]).max() < 0.05
    assert "float16" in run("train", "-solver", solver, "-precision", "half", fails=True).err


def test_a_processor_without_bfloat16(project, run, monkeypatch):
    monkeypatch.setattr("caffe.pycaffe.has_bfloat16", lambda: False)
    with use_precision("float32"):
        printed = run("train", "-solver", project / "solver.prototxt", "-precision", "bfloat16").err
        assert printed.count("no bfloat16 instructions: computing in float32") == 1
        assert "instructions" not in run("train", "-solver", project / "solver.prototxt").err


def test_a_nan_loss_is_warned_of_once(project, run):
    solver = project / "solver.prototxt"
    assert "the loss is" not in run("train", "-solver", solver).err
    text = solver.read_text().replace("display: 2", "display: 1")
    solver.write_text(text.replace("base_lr: 0.0001", "base_lr: 1e30"))
    printed = run("train", "-solver", solver).err
    assert printed.count("loss = nan") > 2
    [line] = [line for line in printed.splitlines() if "the loss is nan" in line]
    assert line.startswith("W") and "smaller base_lr" in line


def test_a_seed_is_chosen_and_reported(project, run):
    solver = project / "solver.prototxt"
    solver.write_text(solver.read_text().replace("random_seed: 1", ""))
    found = {re.search(r"random_seed: (\d+)", run("train", "-solver", solver).err)[1] for _ in range(2)}
    assert len(found) == 2


def test_level_and_stage_reach_the_net(project, run):
    net = project / "net.prototxt"
    extra = 'layer {{ name: "{0}" type: "Silence" bottom: "fc" include {{ {1} }} }}\n'
    rules = {"of_stage": 'stage: "deep"', "of_level": "min_level: 2"}
    net.write_text(net.read_text() + "".join(extra.format(*rule) for rule in rules.items()))
    run("train", "-solver", project / "solver.prototxt")
    assert not {"of_stage", "of_level"} & {name for name, _ in read_weights(project / "solver_iter_6.caffemodel")}
    run("train", "-solver", project / "solver.prototxt", "-stage", "deep,wide", "-level", "2")
    assert {"of_stage", "of_level"} <= {name for name, _ in read_weights(project / "solver_iter_6.caffemodel")}


@pytest.mark.slow
@pytest.mark.parametrize("number, flag, expected", [
    (signal.SIGINT, "-sigint_effect=stop", "Stopped at iteration"), (signal.SIGHUP, "-sighup_effect=snapshot", None),
    (signal.SIGTERM, "-sigint_effect=none", "Stopped at iteration")])
def test_signals(project, number, flag, expected):
    solver = project / "solver.prototxt"
    text = solver.read_text().replace("max_iter: 6", "max_iter: 1000000")
    solver.write_text(text.replace("display: 2", "display: 1"))
    process = subprocess.Popen([sys.executable, "-m", "caffe", "train", "-solver", solver, flag], text=True,
                               stderr=subprocess.PIPE, cwd=caffe.__path__[0] + "/..",
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        while "Iteration 2 (" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        while "Snapshotting solver state" not in process.stderr.readline():
            assert process.poll() is None
        if expected:
            assert expected in process.stderr.read() and process.wait(60) == 0
        else:
            while "Iteration" not in process.stderr.readline():         # the state is complete then
                assert process.poll() is None
        assert len(list(project.glob("solver_iter_*.solverstate"))) == 1
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def parsed_log(lines):
    """What Caffe's tools/extra/parse_log.py extracts: {(phase, output): [(iteration, value, learning rate), ...]}."""
    iteration, rate, start, found = -1, float("nan"), None, {}
    for line in lines:
        words = line.split()
        try:        # extract_seconds.py
            when = datetime.datetime.strptime(f"2024 {words[0][1:]} {words[1]}", "%Y %m%d %H:%M:%S.%f")
        except (ValueError, IndexError):
            continue
        if "Solving" in line:
            start = start or when
        if match := re.search(r"Iteration (\d+)", line):
            iteration = int(match[1])
        if iteration == -1:
            continue
        assert start is not None and when >= start
        if match := re.search(r"lr = ([-+]?[0-9]*\.?[0-9]+([eE]?[-+]?[0-9]+)?)", line):
            rate = float(match[1])
        for phase in ("Train", "Test"):
            if match := re.search(phase + r" net output #(\d+): (\S+) = ([\.\deE+-]+)", line):
                found.setdefault((phase, match[2]), []).append((iteration, float(match[3]), rate))
    return found


def test_scripts_that_parse_caffes_logs_find_everything(project, run):
    solver = project / "solver.prototxt"
    solver.write_text(solver.read_text() + "test_iter: 1 test_interval: 3")
    found = parsed_log(run("train", "-solver", solver).err.splitlines())
    assert {key: [row[0] for row in rows] for key, rows in found.items()} == {
        ("Train", "loss"): [0, 2, 4], ("Test", "loss"): [0, 3, 6], ("Test", "accuracy"): [0, 3, 6]}
    assert all(row[2] == 0.0001 for row in found["Test", "loss"][1:])


# ---- test
def test_means_of_outputs(project, run):
    run("train", "-solver", project / "solver.prototxt")
    model = project / "solver_iter_6.caffemodel"
    printed = run("test", "-model", project / "net.prototxt", "-weights", model, "-iterations", 3)
    net = caffe.Net(str(project / "net.prototxt"), caffe.TEST, weights=str(model))
    losses, accuracies = zip(*[(float(out["loss"]), float(out["accuracy"]))
                               for out in (net.forward() for _ in range(3))], strict=True)
    mean = np.mean(losses)
    assert printed.out.splitlines() == [f"Loss: {2 * mean:.6g}", f"accuracy = {np.mean(accuracies):.6g}",
                                        f"loss = {mean:.6g} (* 2 = {2 * mean:.6g} loss)"]
    assert printed.err.count("Batch 2, ") == 2


def test_outputs_that_change_size_have_no_mean(tmp_path, run, monkeypatch):
    (tmp_path / "growing.py").write_text(
        "import caffe\n"
        "class Growing(caffe.Layer):\n"
        "    def setup(self, bottom, top): self.size = 0\n"
        "    def reshape(self, bottom, top): self.size += 1; top[0].reshape(self.size)\n"
        "    def forward(self, bottom, top): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    net = tmp_path / "net.prototxt"
    net.write_text('layer { name: "g" type: "Python" top: "g" python_param { module: "growing" layer: "Growing" } }\n'
                   'layer { name: "i" type: "Input" top: "i" input_param { shape { dim: 1 dim: 1 } } }\n'
                   'layer { name: "p" type: "InnerProduct" bottom: "i" top: "p" '
                   'inner_product_param { num_output: 1 } }')
    caffe.Net(str(net), caffe.TEST).save(str(tmp_path / "w"))
    assert "use -iterations 1" in run("test", "-model", net, "-weights", tmp_path / "w", fails=True).err
    run("test", "-model", net, "-weights", tmp_path / "w", "-iterations", 1)


# ---- a net that BVLC Caffe trained in 2014
@pytest.fixture
def cifar(tmp_path, shared_data, golden_files, run):
    """The folder of cifar10_quick, with a small database of 32 x 32 images instead of its LevelDB databases."""
    pytest.importorskip("lmdb")
    source = shared_data / "caffe" / "cifar10_quick"
    if not source.is_dir():
        pytest.skip(f"no cifar10_quick at {source}")
    folder = tmp_path / "cifar"
    shutil.copytree(source, folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    images = golden_files / "images.d"
    run("convert_imageset", f"{images}/", images / "list.txt", folder / "db", "-resize_height=32", "-resize_width=32")
    run("compute_image_mean", folder / "db", folder / "mean.binaryproto")
    net = folder / "cifar10_quick_train_test.prototxt"
    text = re.sub(r'source: "[^"]*"', f'source: "{folder}/db" backend: LMDB', net.read_text())
    net.write_text(re.sub(r'mean_file: "[^"]*"', f'mean_file: "{folder}/mean.binaryproto"', text)
                   .replace("batch_size: 100", "batch_size: 4"))
    solver = folder / "cifar10_quick_solver.prototxt"
    text = re.sub(r'net: "[^"]*"', f'net: "{net.name}"', solver.read_text())
    text = re.sub(r'snapshot_prefix: "[^"]*"', f'snapshot_prefix: "{folder}/"', text)
    solver.write_text(text.replace("max_iter: 4000", "max_iter: 4003").replace("test_iter: 100", "test_iter: 1"))
    return folder


def test_cifar10_quick_is_tested_fine_tuned_and_resumed(cifar, run):
    net, model = cifar / "cifar10_quick_train_test.prototxt", cifar / "cifar10_quick_iter_5000.caffemodel"
    printed = run("test", "-model", net, "-weights", model, "-iterations", 1).out
    assert re.search(r"accuracy = [01]", printed) and "(* 1 = " in printed
    solver = cifar / "cifar10_quick_solver.prototxt"
    assert "restored iteration 4000" in continued(run, cifar, solver).err
    fine = cifar / "fine.prototxt"
    fine.write_text(solver.read_text().replace("max_iter: 4003", "max_iter: 2"))
    run("train", "-solver", fine, "-weights", model)
    before, after = weights(model)["conv1"][0], weights(cifar / "fine_iter_2.caffemodel")["conv1"][0]
    assert 0 < np.abs(before - after).max() < 0.01


def continued(run, cifar, solver):
    """Resume from the solver state, which names its model without the extension."""
    state = cifar / "cifar10_quick_iter_4000.solverstate"
    shutil.copy(cifar / "cifar10_quick_iter_4000.caffemodel", cifar / "cifar10_quick_iter_4000")
    result = run("train", "-solver", solver, "-snapshot", state)
    assert (cifar / "cifar10_quick_solver_iter_4003.caffemodel").is_file()
    return result


def test_time_and_inspect_cifar10_quick(cifar, run):
    model = cifar / "cifar10_quick_iter_5000.caffemodel"
    printed = run("inspect", cifar / "cifar10_quick.prototxt", model).out
    assert "Parameters: 145,578 (0.56 MB)" in printed and "12,354,176" in printed
    assert re.search(r"conv2 +Convolution +1x32x16x16 +32x32x5x5 32 +25,632 +6,553,600", printed)
    assert re.search(r"ip1 +1x1x64x1024 1x1x1x64 +65,600", run("inspect", model).out)
    started = time.perf_counter()
    printed = run("time", "-model", cifar / "cifar10_quick_train_test.prototxt", "-iterations=2").out
    elapsed = 1000 * (time.perf_counter() - started)
    total = float(re.search(r"Total time: ([\d.]+) ms", printed)[1])
    rows = re.findall(r"^conv\d +Convolution +([\d.]+) +([\d.]+) +[\d.]+ %$", printed, re.M)
    assert len(rows) == 3 and all(float(value) > 0 for row in rows for value in row)
    assert 2 * sum(float(value) for row in rows for value in row) < total < elapsed
