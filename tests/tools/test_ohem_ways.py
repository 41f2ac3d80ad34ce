"""experiments/benchmarks/ohem_ways.py on small feature maps; its results are in ohem_ways.md."""
import re

import pytest

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "ohem_ways"


def test_both_ways_agree_on_the_rois_of_one_image(program, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "KEPT", 12)
    found, compare = [], program.compare
    monkeypatch.setattr(program, "compare", lambda *options: found.append(compare(*options)) or found[-1])
    words = ["--nets", "Tiny", "--rois", "30", "--size", "7", "9", "--repeats", "1"]
    assert program.main([*words, "--report", str(tmp_path / "report.md")]) == 0
    text = (tmp_path / "report.md").read_text()
    assert capsys.readouterr().out.endswith(text + "\n")
    alone, two = found
    assert alone.same == 1 and alone.loss < 1e-6 and 0 < alone.gradient < 1e-5
    assert 0.5 < two.same < 1 and two.loss > 1e-5       # the 6 hardest of each image are not the 12 hardest of both
    rows = re.findall(r"^\| Tiny \| (\d) \| 30 \| (\d+) % \|.* \| ([\d.]+) \|$", text, re.M)
    assert [(int(images), int(same)) for images, same, _ in rows] == [(1, 100), (2, round(100 * two.same))]
    assert float(rows[0][2]) == pytest.approx(alone.one_pass / alone.readonly, abs=0.0051)
