"""The programs in caffe/tools, which search for a suitable Python."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import caffe
from caffe.proto import caffe_pb2, prototxt

pytestmark = pytest.mark.slow      # they start several Pythons
TOOLS = Path(caffe.__file__).parent / "tools"
OLD = {"net": "layers { name: 'd' type: DUMMY_DATA top: 'd' }", "solver": "solver_type: ADAM"}
NEW = {"net": caffe_pb2.NetParameter, "solver": caffe_pb2.SolverParameter}


def program(kind: str) -> Path:
    return TOOLS / f"upgrade_{kind}_proto_text"


@pytest.mark.parametrize("kind", OLD)
def test_programs_run_under_the_python_that_calls_them(tmp_path, kind):
    (tmp_path / "old").write_text(OLD[kind])
    subprocess.run([program(kind), "old", "new"], check=True, cwd=tmp_path, env={"PATH": os.defpath})
    found = prototxt.parse((tmp_path / "new").read_text(), NEW[kind]())
    assert "Adam" == found.type if kind == "solver" else found.layer[0].type == "DummyData"


@pytest.fixture
def bare(tmp_path):
    """A PATH without Python, and the programs in a folder outside any environment."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("dirname", "head", "sh", "tr"):
        (folder / name).symlink_to(shutil.which(name))
    shutil.copytree(TOOLS, tmp_path / "python" / "caffe" / "tools")
    return tmp_path


def call(bare: Path, **environment: str) -> subprocess.CompletedProcess:
    """Call a program from a shell instead of from Python."""
    (bare / "old").write_text(OLD["solver"])
    command = f"'{bare}/python/caffe/tools/upgrade_solver_proto_text' old new; exit $?"
    return subprocess.run(["/bin/sh", "-c", command], cwd=bare, env={"PATH": str(bare / "bin"), **environment},
                          capture_output=True, text=True)


def test_a_missing_python_is_reported(bare):
    found = call(bare)
    assert found.returncode == 2 and "upgrade_solver: found no Python with PyTorch" in found.stderr


@pytest.mark.parametrize("place", ["python/bin", ".venv/bin"])
def test_an_environment_around_the_programs_is_found(bare, place):
    (bare / place).mkdir(parents=True)
    (bare / place / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (bare / place / "python").chmod(0o755)
    found = call(bare, PYTHONPATH=str(TOOLS.parents[1]))
    assert found.returncode == 0, found.stderr
    assert (bare / "new").is_file()
