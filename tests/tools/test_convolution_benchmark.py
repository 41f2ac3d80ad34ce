"""experiments/benchmarks/convolution.py on a small image; its results are in convolution.md."""

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


@pytest.fixture
def report(program, monkeypatch, capsys):
    """Makes the report on one small layer with fixed times; returns each type's section and its table rows."""
    monkeypatch.setattr(program, "LAYERS", [("conv9_9", 32, 64, 16)])
    monkeypatch.setattr(program, "seconds", lambda repeats, direct, ours: [0.003, 0.002])

    def make() -> dict[str, tuple[str, list[str]]]:
        assert program.main(["--size", "160", "208"]) == 0
        head, *sections = capsys.readouterr().out.split("\n## ")
        assert "at 160 x 208" in head
        return {text.partition("\n")[0]: (text, [line for line in text.splitlines()
                                                 if line.startswith(("| conv9_9 |", "| **all** |"))])
                for text in sections}
    return make


def test_the_report_has_a_ratio_for_each_layer_and_pass(program, report):
    weight = torch.zeros(32, 32, 3, 3)
    with_vectors = [name for name in ("float32", "bfloat16")
                    if program.winograd.suits(torch.zeros(1, 32, 16, 16, dtype=getattr(torch, name)), weight, 1)]
    if not with_vectors:
        pytest.skip("this machine has no vectors that the kernels can use")
    sections = report()
    assert list(sections) == ["float32", "bfloat16"]
    for name in with_vectors:
        assert [line.count("3.0, 2.0, 1.50") for line in sections[name][1]] == [3, 3]


def test_the_report_on_a_processor_without_vectors(program, report, monkeypatch):
    monkeypatch.setattr(program.winograd, "suits", lambda x, weight, pad: False)
    sections = report()
    assert list(sections) == ["float32", "bfloat16"]
    assert all("has no vectors" in text and not lines for text, lines in sections.values())


def test_an_image_that_is_too_small(program, capsys):
    with pytest.raises(SystemExit):
        program.main(["--size", "20", "300"])
    assert "at least 128 pixels" in capsys.readouterr().err
