"""The experiment script trains Tiny end to end with hard example mining, and tests the result."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from make_models import make_models

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def run_script(tmp_path, demo_data):
    """Runs the script in a temporary project; returns its exit status and output."""
    make_models("Tiny", 5, out_dir=tmp_path / "made")
    for folder in ("experiments/scripts", "experiments/cfgs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "models").symlink_to(ROOT / "models")

    def run(*options):
        done = subprocess.run(
            ["bash", str(tmp_path / "experiments/scripts/faster_rcnn_end2end.sh"), "cpu", "Tiny",
             f"{demo_data}:trainval,{demo_data}:test", *options, "--output", str(tmp_path / "out"), "--set",
             "TRAIN.SCALES", "(96,)", "TEST.SCALES", "(96,)", "NUM_WORKERS", "0", "TRAIN.SNAPSHOT_ITERS", "2",
             "EXP_DIR", str(tmp_path / "results")],
            capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHON": sys.executable, "MODELS": str(tmp_path / "made"), "OMP_NUM_THREADS": "1"})
        return done.returncode, done.stdout + done.stderr
    return run


def test_the_script_trains_with_mining(run_script, tmp_path):
    status, text = run_script("--ohem", "--iters", "4")
    assert status == 0 and "mean AP" in text, text
    assert f"--solver {tmp_path}/made/Tiny/faster_rcnn_end2end_ohem/solver.pt" in text
    log = (tmp_path / "out/logs/faster_rcnn_end2end_ohem_solver.jsonl").read_text().splitlines()
    last = json.loads(log[-1])
    losses = last["stats"]["OHEMDataLayer"]
    assert last["iteration"] == 4 and losses["hard"] >= losses["all RoIs"]
    assert {path.name for path in (tmp_path / "out").glob("*.caffemodel")} == {
        "tiny_faster_rcnn_iter_2.caffemodel", "tiny_faster_rcnn_iter_4.caffemodel"}
