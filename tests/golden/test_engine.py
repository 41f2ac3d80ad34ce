"""Every recorded engine case, run by tests/golden/check_golden.py in a worker process, also on a GPU if available.

Old prototxts are upgraded here instead: check_golden.py would start a program, and PyTorch with it, for each of them.
"""
import argparse
import json
import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import check_golden

from caffe.commands import main

PACKAGES = Path(check_golden.__file__).parent.parent.parent / "caffe-fast-rcnn" / "python"


def pytest_generate_tests(metafunc):
    index = json.loads((Path(metafunc.config.getoption("--golden-engine")) / "index.json").read_text())
    metafunc.parametrize("number", range(len(index)), ids=[f"{case['family']}/{case['name']}" for case in index])


@pytest.fixture(scope="module")
def folder(request) -> Path:
    return Path(request.config.getoption("--golden-engine")).resolve()


@pytest.fixture(scope="module")
def index(folder):
    return json.loads((folder / "index.json").read_text())


@pytest.fixture(scope="module", params=["cpu", "gpu"] if torch.cuda.is_available() else ["cpu"])
def pool(request, folder):
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGES), before]))
    pool = check_golden.Pool(argparse.Namespace(
        dir=str(folder), gpu=request.param == "gpu", skip_lr=False, timeout=120, python=sys.executable,
        upgrade_net_cmd=None, upgrade_solver_cmd=None))
    yield pool
    pool.stop()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def upgrade(case, folder, target):
    """Upgrade a prototxt; the answer of a worker that runs the program."""
    assert main([f"upgrade_{case['what']}", str(folder / case["prototxt"]), str(target)]) == 0
    found, expected = (check_golden.parse_text(path.read_text()) for path in (target, folder / case["expected"]))
    difference = check_golden.diff_text(found, expected)
    return {"problems": [f"upgraded text differs at {difference}"] if difference else []}


def test_case(number, index, folder, pool, tmp_path):
    case = index[number]
    if "lmdb" in case["name"]:
        pytest.importorskip("lmdb")
    answer = upgrade(case, folder, tmp_path / "new.prototxt") if case.get("kind") == "upgrade" else pool.run(number)
    problems = answer["problems"]
    if answer.get("crashed") or answer.get("raised"):
        refused = case.get("kind") == "reject" and answer.get("control")
        if refused or case.get("may_refuse"):
            problems = []
    assert not problems, "\n".join(problems)
