"""Every recorded engine case, run by tests/golden/check_golden.py in a worker process.

A case whose net holds a layer type that the engine does not have yet is skipped and says so.
"""
import argparse
import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import check_golden

UPGRADES = Path(check_golden.__file__).parent.parent.parent / "caffe-fast-rcnn" / "python"


def pytest_generate_tests(metafunc):
    index = json.loads((Path(metafunc.config.getoption("--golden-engine")) / "index.json").read_text())
    metafunc.parametrize("number", range(len(index)), ids=[f"{case['family']}/{case['name']}" for case in index])


@pytest.fixture(scope="module")
def folder(request) -> Path:
    return Path(request.config.getoption("--golden-engine")).resolve()


@pytest.fixture(scope="module")
def index(folder):
    return json.loads((folder / "index.json").read_text())


@pytest.fixture(scope="module")
def pool(folder):
    import os
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(UPGRADES), before]))
    upgrade = f"{sys.executable} -m caffe"
    pool = check_golden.Pool(argparse.Namespace(
        dir=str(folder), gpu=False, skip_lr=False, timeout=120, python=sys.executable,
        upgrade_net_cmd=f"{upgrade} upgrade_net", upgrade_solver_cmd=f"{upgrade} upgrade_solver"))
    yield pool
    pool.stop()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def missing_types(folder: Path, case: dict) -> set[str]:
    """Layer types that the case's files name (V2 files: in quotes) and the engine lacks."""
    import caffe
    files = [case.get("prototxt"), case.get("reader"), *case.get("files", ())]
    texts = [(folder / name).read_text() for name in files if name and (folder / name).is_file()]
    named = set(re.findall(r'\btype:\s*["\'](\w+)["\']', "\n".join(texts)))
    known = set(caffe.layer_type_list()) | set(dir(caffe)) | {name[:-6] for name in dir(caffe) if name.endswith("Solver")}
    fillers = {"constant", "uniform", "gaussian", "positive_unitball", "xavier", "msra", "bilinear"}
    return named - known - fillers


def test_case(number, index, folder, pool):
    case = index[number]
    if case.get("kind") != "reject":
        missing = missing_types(folder, case)
        if missing:
            pytest.skip(f"no layer type {', '.join(sorted(missing))}")
    answer = pool.run(number)
    problems = answer["problems"]
    if answer.get("crashed") or answer.get("raised"):
        refused = case.get("kind") == "reject" and answer.get("control")
        if refused or case.get("may_refuse"):
            problems = []
    assert not problems, "\n".join(problems)
