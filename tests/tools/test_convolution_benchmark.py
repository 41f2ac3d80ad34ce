"""experiments/benchmarks/convolution.py on a small image; the figures themselves are in convolution.md."""

import pytest
import torch

BENCHMARK = "convolution"


@pytest.mark.parametrize("name", ["forward", "bottom", "weights"])
def test_both_sides_compute_the_same(program, name):
    arrays = program.Arrays.random(32, 64, 13, 18, torch.float32)
    ours, direct = arrays.ours(name), arrays.direct(name)
    assert ours.shape == direct.shape
    torch.testing.assert_close(ours, direct, rtol=0, atol=1e-5 * direct.abs().max().item())
    assert all(0 < error < 1e-5 for error in program.errors(arrays, name))


def test_the_report_has_a_ratio_for_each_layer_and_pass(program, monkeypatch, capsys):
    monkeypatch.setattr(program, "LAYERS", [("conv9_9", 32, 64, 16)])
    monkeypatch.setattr(program, "seconds", lambda repeats, direct, ours: [0.003, 0.002])
    assert program.main(["--size", "160", "208"]) == 0
    text = capsys.readouterr().out
    assert "at 160 x 208" in text
    lines = [line for line in text.splitlines() if line.startswith(("| conv9_9 |", "| **all** |"))]
    assert len(lines) in (0, 2, 4)                  # none, float32, bfloat16: by the processor
    assert all(line.count("3.0, 2.0, 1.50") == 3 for line in lines)


def test_an_image_that_is_too_small(program, capsys):
    with pytest.raises(SystemExit):
        program.main(["--size", "20", "300"])
    assert "at least 128 pixels" in capsys.readouterr().err
