"""Flags in Caffe's style, help, and errors on the command line."""
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import caffe
from caffe.commands import COMMANDS, main
from caffe.commands.flags import Flags, names
from caffe.commands.running import Progress, guarded, log


@pytest.fixture
def flags():
    result = Flags("caffe some", "Does it.", "  caffe some -number 3\n")
    result.add_argument("source", nargs="?")
    result.add_argument("--number", type=int, default=0)
    result.add_argument("--long_name")
    result.switch("gray", "grey")
    return result


@pytest.mark.parametrize("words", ["-number 3", "--number 3", "-number=3", "--number=3"])
def test_one_dash_or_two_with_or_without_equals(flags, words):
    assert flags.read(words.split()).number == 3


@pytest.mark.parametrize("words, value", [
    ("", False), ("-gray", True), ("--gray", True), ("-gray=true", True), ("-gray=0", False), ("-nogray", False),
    ("-gray -nogray", False)])
def test_switches(flags, words, value):
    assert flags.read(words.split()).gray is value


def test_a_switch_leaves_the_next_word_alone(flags):
    args = flags.read(["-gray", "folder/", "-long-name=a=b"])
    assert (args.gray, args.source, args.long_name) == (True, "folder/", "a=b")


def test_a_negative_number_is_a_value(flags):
    assert flags.read(["-number", "-1"]).number == -1


@pytest.mark.parametrize("words, hint", [
    (["-numbre", "3"], "did you mean --number?"), (["-gray=maybe"], "expected true or false"),
    (["-number", "x"], "invalid int value"), (["-num", "3"], "--number")])
def test_errors_are_reported_in_one_line(flags, capsys, words, hint):
    with pytest.raises(SystemExit) as stop:
        flags.read(words)
    told = capsys.readouterr().err
    assert stop.value.code == 2 and hint in told and told.count("\n") == 1


def test_lists():
    assert names(" a,b ,,c") == ["a", "b", "c"]


# ---- flags that every command of Caffe takes
GLOBAL = """-logtostderr -alsologtostderr=1 -log_dir logs -v 2 -phase TEST -level 1 -stage a -iterations 3 -model m
 -solver s -snapshot x -sigint_effect=stop --nolog_prefix""".split()


def test_commands_accept_the_flags_of_others(run):
    assert "GPU" in run("device_query", *GLOBAL).out
    assert run("upgrade_net", "-logtostderr", "nosuch", "out", fails=True).err


def test_flags_may_precede_the_command(run, project):
    net = project / "net.prototxt"
    assert "Total time" in run("-iterations", 1, "-model", net, "--logtostderr", "time", "-phase=TEST").out
    assert "GPU" in run(*GLOBAL, "device_query").out
    assert "usage" in run("--help").out and "examples:" in run("-help", "train").out


def test_unknown_flags_are_still_errors(run):
    told = run("device_query", "-gppu", "0", fails=True).err
    assert "unexpected --gppu; did you mean --gpu?" in told
    assert main(["-gpu", "0"]) == 2


@pytest.mark.parametrize("words", [["--version"], ["-version"], ["train", "--version"]])
def test_version(run, words):
    assert run(*words).out == f"caffe version {caffe.__version__}\n"


def test_the_minimum_level_of_the_log(run, project):
    assert "Batch" not in run("time", "-model", project / "net.prototxt", "-iterations=1", "-minloglevel=1").err
    assert not run("time", "-model", project / "net.prototxt", "-iterations=1", "-minloglevel=1").err
    assert "expected 0 (INFO)" in run("device_query", "-minloglevel=9", fails=True).err
    assert "no files are written" in run("device_query", "-log_dir", "logs").err


# ---- commands
@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(run, name):
    assert f"caffe {name}" in run(name, "-help").out.split("examples:")[1]


def test_help_lists_all_commands(run):
    printed = run("--help").out
    assert all(f"  {name} " in printed for name in COMMANDS)


def test_an_unknown_command(run):
    assert "did you mean: train" in main_error(["trian"])
    assert main([]) == 2


def main_error(words):
    result = subprocess.run([sys.executable, "-m", "caffe", *words], capture_output=True, text=True,
                            cwd=caffe.__path__[0] + "/..")
    assert result.returncode == 2 and not result.stdout
    return result.stderr


@pytest.mark.parametrize("words, told", [
    (("train",), "--solver"),
    (("train", "-solver", "nosuch"), "no file nosuch"),
    (("train", "-solver", "solver.prototxt", "-weights", "a", "-snapshot", "b"), "not both"),
    (("train", "-solver", "solver.prototxt", "-weights", "nosuch"), "-weights: there is no file nosuch"),
    (("train", "-solver", "solver.prototxt", "-sigint_effect", "dance"), "dance"),
    (("train", "-solver", "net.prototxt"), "net.prototxt:"),
    (("test", "-model", "net.prototxt"), "--weights"),
    (("test", "-model", "net.prototxt", "-weights="), "-weights: there is no file"),
    (("time", "-model", "net.prototxt", "-iterations", "0"), "from 1 on"),
    (("time", "-model", "solver.prototxt"), "solver.prototxt:"),
    (("inspect",), "give one prototxt"),
    (("inspect", "net.prototxt", "-input", "data=1,3,6,9"), "-input data=1,3,6,9"),
    (("draw", "net.prototxt", "net.nosuch"), "nosuch"),
    (("draw", "net.prototxt", "no/folder/net.dot"), "no folder"),
    (("upgrade_net", "nosuch", "out"), "nosuch"),
    (("extract_features", "w", "net.prototxt", "a,b", "c", "1"), "2 blobs and 1 databases"),
    (("extract_features", "w", "net.prototxt", "a", "c", "many"), "many"),
    (("extract_features", "w", "net.prototxt", "a", "c", "1", "leveldb"), "lmdb"),
    (("compute_image_mean", "nosuch"), "no such database"),
    (("compute_image_mean", "photos"), "cannot be opened"),
    (("compute_image_mean", "db", "no/folder/mean"), "no folder"),
    (("convert_imageset", "photos/", "photos/list.txt", "db"), "exists already"),
    (("convert_imageset", "photos/", "nosuch", "new"), "nosuch"),
    (("convert_imageset", "photos/", "photos/list.txt", "no/folder"), "no folder"),
    (("convert_imageset", "photos/", "photos/list.txt", "new", "-backend=leveldb"), "lmdb"),
    (("convert_imageset", "photos/", "photos/list.txt", "new", "-resize_width=3"), "-resize_height"),
    (("convert_imageset", "photos/", "photos/list.txt", "new", "-encode_type", "nosuch"), "nosuch"),
    (("convert_imageset", "elsewhere/", "photos/list.txt", "new"), "is ROOT right")])
def test_errors_end_in_a_message_and_leave_nothing(project, run, monkeypatch, words, told):
    monkeypatch.chdir(project)
    before = sorted(project.iterdir())
    assert told in run(*words, fails=True).err
    assert sorted(project.iterdir()) == before


@pytest.mark.skipif(caffe.has_gpu(), reason="needs a machine without a GPU")
def test_a_missing_gpu(project, run):
    assert "PyTorch sees no CUDA GPU" in run("time", "-model", project / "net.prototxt", "-gpu", "0", fails=True).err


def test_device_query(run):
    assert "GPU" in run("device_query").out


def test_device_query_of_several_gpus(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(
        name="T4", major=7, minor=5, total_memory=2**34, multi_processor_count=40))
    assert [line[:5] for line in run("device_query", "-gpu", "0,2").out.splitlines()] == ["GPU 0", "GPU 2"]
    assert len(run("device_query", "-gpu=all").out.splitlines()) == 3
    assert "-gpu 1,7: there is no GPU 7; expected 'all', or numbers below 3" in run(
        "device_query", "-gpu", "1,7", fails=True).err


def test_bugs_keep_their_traceback():
    def broken():
        raise ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        guarded("caffe some", broken)


def test_ctrl_c_gives_130(capsys):
    def stopped():
        raise KeyboardInterrupt
    assert guarded("caffe some", stopped) == 130 and "interrupted" in capsys.readouterr().err


def test_progress_shows_the_time_left(monkeypatch, capsys):
    now = iter([0.0, 1.0, 6.0, 7.0, 20.0])
    monkeypatch.setattr("caffe.commands.running.time.monotonic", lambda: next(now))
    progress, before = Progress(4, "images"), list(log.handlers)

    def work():
        for _ in range(4):
            progress.step()
        return 0
    guarded("caffe some", work)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].endswith("] 2 of 4 images, 0.333/s, ETA 0:00:06")
    assert log.handlers == before
