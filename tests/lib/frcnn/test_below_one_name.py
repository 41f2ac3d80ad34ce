"""Outside the checkout everything is below `frcnn`: other projects' `datasets` and `utils` do not interfere."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
from frcnn_runs import make_run

import frcnn

ROOT = Path(__file__).resolve().parents[3]
OTHERS = ("alt_opt", "checks", "commands", "datasets", "fast_rcnn", "net_definitions", "nms", "roi_data_layer", "rpn",
          "utils")
PROGRAM = """
import sys
import datasets, rpn.proposal_layer, utils                # of others
import frcnn
assert not [name for name in sys.modules if name.startswith("frcnn.datasets")], "imported before it is used"
detector = frcnn.load(sys.argv[1], device="cpu", settings={"NUM_WORKERS": 1})
found = detector(sys.argv[2], thresh=0.1)
print(len(found), found.boxes.astype("float32").tobytes().hex())
print(detector.evaluate(sys.argv[3]).mean_ap)
import utils.draw
assert datasets.MINE and utils.draw.MINE and type(found).__module__ == "frcnn.results"
own = [name for name in sys.modules if name.partition(".")[0] in sys.argv[4:]]
assert sorted(own) == ["datasets", "rpn", "rpn.proposal_layer", "utils", "utils.draw"], own
print("frcnn.utils.draw" in sys.modules, "frcnn.rpn.proposal_layer" in sys.modules)
try:
    detector("no.jpg")
except frcnn.UserError as error:
    print(error)
"""


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with a link to the package, and foreign modules with the names of lib's packages."""
    (tmp_path / "frcnn").symlink_to(ROOT / "lib" / "frcnn")
    for name in OTHERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "rpn" / "proposal_layer.py").write_text("")
    (tmp_path / "utils" / "draw.py").write_text("MINE = True\n")
    return tmp_path


@pytest.mark.slow
def test_other_modules_of_the_same_names(elsewhere, photos, demo_data, tmp_path):
    run_folder = make_run(tmp_path / "run", ("ball", "brick", "ring", "star"))
    image = photos / "im0.png"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, run_folder, image, f"{demo_data}:test", *OTHERS], cwd=tmp_path,
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{elsewhere}:{ROOT / 'caffe-fast-rcnn' / 'python'}"})
    assert done.returncode == 0, done.stderr
    here = frcnn.load(run_folder, device="cpu")(image, thresh=0.1)
    lines = done.stdout.splitlines()
    assert f"{len(here)} {here.boxes.tobytes().hex()}" in lines
    assert lines[-2:] == ["True True", "no.jpg: there is no such photograph or folder"]
