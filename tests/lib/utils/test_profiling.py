"""--profile: which iterations are measured, which files are written, and a Caffe without profiles."""
import contextlib
from pathlib import Path

import pytest

import caffe
from utils import other_caffe
from utils.files import read_json
from utils.profiling import profiled

NET = """
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "relu" type: "ReLU" bottom: "x" top: "y" }
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.pt").write_text(NET)
    return caffe.Net(str(tmp_path / "net.pt"), caffe.TEST)


def run(net, path: Path | None, iterations: int) -> None:
    with profiled(net, path, iterations) as iteration:
        for _ in range(iterations):
            with iteration():
                net.forward()


@pytest.mark.parametrize("iterations, measured", [(1, "1 to 1"), (4, "3 to 4"), (18, "6 to 18"), (100, "6 to 25")])
def test_files_of_the_measured_iterations(net, tmp_path, capsys, iterations, measured):
    path = tmp_path / "profile" / "stage1"
    run(net, path, iterations)
    table, trace = tmp_path / "profile" / "stage1.txt", tmp_path / "profile" / "stage1_trace.json"
    assert f"Profile of iterations {measured}: {table}, {trace}" in capsys.readouterr().out
    assert table.read_text().startswith(f"stage1, iterations {measured} of this process\n")
    first, last = map(int, measured.split(" to "))
    names = [event["name"] for event in read_json(trace)["traceEvents"]]
    assert names.count("iteration") == names.count("relu forward") == last - first + 1
    assert sorted(path.parent.iterdir()) == [table, trace]


def test_nothing_is_written_by_default(net, tmp_path, capsys):
    run(net, None, 3)
    run(net, tmp_path / "profile" / "none", 0)
    assert capsys.readouterr().out == "" and not (tmp_path / "profile").exists()


def test_a_caffe_without_profiles_continues(net, tmp_path, monkeypatch, capsys):
    monkeypatch.delattr(caffe, "Profile")
    run(net, tmp_path / "profile" / "none", 3)
    assert "no caffe.Profile" in capsys.readouterr().out and not (tmp_path / "profile").exists()


def test_a_caffe_without_spans_has_contexts_that_do_nothing(monkeypatch):
    monkeypatch.delattr(caffe, "span")
    import importlib
    try:
        assert importlib.reload(other_caffe).span is contextlib.nullcontext
    finally:
        monkeypatch.undo()
        importlib.reload(other_caffe)
