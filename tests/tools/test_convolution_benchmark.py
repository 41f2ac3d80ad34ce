"""experiments/benchmarks/convolution.py on a small image; the figures themselves are in convolution.md."""
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"


@pytest.fixture(scope="module")
def program():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(FOLDER), *sys.path])
        spec = importlib.util.spec_from_file_location("convolution_benchmark", FOLDER / "convolution.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("name", ["forward", "bottom", "weights"])
def test_both_sides_compute_the_same(program, name):
    arrays = program.Arrays.random(32, 64, 13, 18, torch.float32)
    ours, direct = arrays.ours(name), arrays.direct(name)
    assert ours.shape == direct.shape
    torch.testing.assert_close(ours, direct, rtol=0, atol=1e-5 * direct.abs().max().item())
    assert all(0 < error < 1e-5 for error in program.errors(arrays, name))


def test_the_report_has_a_ratio_for_each_layer_and_pass(program, monkeypatch, capsys):
    monkeypatch.setattr(program, "LAYERS", [("conv9_9", 32, 64, 16)])
    monkeypatch.setattr(program, "seconds", lambda direct, ours: [0.003, 0.002])
    assert program.main(["--size", "160", "208"]) == 0
    text = capsys.readouterr().out
    assert "at 160 x 208" in text
    assert text.count("| conv9_9 | 3.0, 2.0, 1.50 |") >= 1
    [total, *_] = [line for line in text.splitlines() if line.startswith("| **all** |")]
    assert total.count("3.0, 2.0, 1.50") == 3


def test_an_image_that_is_too_small(program, capsys):
    with pytest.raises(SystemExit):
        program.main(["--size", "20", "300"])
    assert "at least 128 pixels" in capsys.readouterr().err
