"""The sdist and the wheel are complete, and the wheel works in a separate environment."""
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = Path("caffe-fast-rcnn") / "python"
LEFT_OUT = ("alt_opt", "reports")       # of lib: only tools/ use them
PACKED = ("*.py", "*.pyi", "*.h", "*.cu", "*.proto", "caffe/tools/*")
BUILT_WITH = {"pip": (22, 3), "setuptools": (64, 0), "Cython": (3, 0)}      # minimum versions
BUILD_SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
NET = """
layer { name: "input" type: "Input" top: "data" top: "rois"
        input_param { shape { dim: 1 dim: 2 dim: 4 dim: 6 } shape { dim: 1 dim: 5 } } }
layer { name: "pool" type: "ROIPooling" bottom: "data" bottom: "rois" top: "pool"
        roi_pooling_param { pooled_h: 2 pooled_w: 3 } }
"""
# Uses a data set of four classes, in a process that has imported another project's `utils`
USE_DETECTOR = """
import sys
import utils
import frcnn
detector = frcnn.load("run", device="cpu")
for found in detector("photos"):
    print(*found.scores)
print(detector.evaluate("data:test").mean_ap, frcnn.Dataset("data:test").show(2).shape)
assert utils.MINE and "datasets" not in sys.modules and "rpn" not in sys.modules
print(frcnn.__file__)
"""
RUN_NET = """
import sys
import numpy, caffe
net = caffe.Net("net.pt", caffe.TEST)
pooled = net.forward(data=numpy.arange(48).reshape(1, 2, 4, 6), rois=numpy.array([[0, 0, 0, 5, 3]]))["pool"]
print(caffe.__file__, caffe.kernels._cpu.__file__, *pooled.flatten().astype(int))
"""


def is_installed(name: str, oldest: tuple[int, int]) -> bool:
    try:
        major, minor = importlib.metadata.version(name).split(".")[:2]
    except importlib.metadata.PackageNotFoundError:
        return False
    return (int(major), int(minor)) >= oldest


def missing() -> list[str]:
    """What this machine lacks to build and install a wheel."""
    compiler = (os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++").split()[0]
    packages = [f"{name} {oldest[0]}.{oldest[1]}" for name, oldest in BUILT_WITH.items()
                if not is_installed(name, oldest)]
    return packages if shutil.which(compiler) else [*packages, f"the C++ compiler {compiler}"]


pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(bool(missing()), reason=f"packages cannot be built without {', '.join(missing())}")]


def run(*command: object, cwd: Path) -> str:
    """Run a program that cannot import from the checkout and must succeed; returns its standard output."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def pip(*command: object, cwd: Path) -> str:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *command, cwd=cwd)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The sdist, built from a copy of the sources, because the checkout may contain build products."""
    folder = tmp_path_factory.mktemp("sources")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    for name in ("caffe-fast-rcnn", "lib", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(
            "golden", "__pycache__", "*.egg-info", "*.so", "*.cpp"))
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-c", BUILD_SDIST, out, cwd=folder)
    [path] = out.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """The wheel, built from the sdist, so that files missing there are missing here too."""
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", out, sdist, cwd=out)
    [path] = out.iterdir()
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A new virtual environment with the wheel and the other packages of the running Python.

    A .pth file appends the folders of these packages to sys.path, after the wheel's. Their own .pth files, such as that
    of an editable installation, are not read.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    pip("--python", folder / "bin" / "python", "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    [site] = folder.glob("lib/python*/site-packages")
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "dependencies.pth").write_text("\n".join(packages))
    return folder


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    (tmp_path / "net.pt").write_text(NET)
    return tmp_path


def in_sdist(sdist: Path) -> set[str]:
    """Names of the files, relative to the top folder."""
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def engine_files(*patterns: str) -> set[str]:
    """Files of the engine in the checkout, relative to its package folder."""
    files = {path.relative_to(ROOT / ENGINE) for pattern in patterns for path in (ROOT / ENGINE).rglob(pattern)}
    return {path.as_posix() for path in files if "__pycache__" not in path.parts}


def detector_files() -> set[str]:
    """Modules of the detector in the checkout, relative to lib."""
    files = {path.relative_to(ROOT / "lib") for path in (ROOT / "lib").rglob("*.py")}
    return {path.as_posix() for path in files if path.parts[0] not in LEFT_OUT}


def test_the_sdist_contains_engine_and_detector_and_their_build_files(sdist):
    found = in_sdist(sdist)
    expected = {(ENGINE / name).as_posix() for name in engine_files(*PACKED, "*.pyx")}
    expected |= {f"lib/{name}" for name in detector_files()} | {"lib/utils/bbox.pyx"}
    expected |= {"setup.py", "pyproject.toml", "LICENSE", "NOTICE", "caffe-fast-rcnn/README.md"}
    assert {".h", ".cu", ".proto", ".pyx", ".py"} <= {PurePosixPath(name).suffix for name in expected}
    assert not expected - found
    left_out = ("tests/", *(f"lib/{name}" for name in LEFT_OUT))
    assert not {name for name in found if name.startswith(left_out) or name.endswith((".cpp", ".so"))}


def test_the_wheel_contains_the_engine_and_the_detector_as_one_package(wheel):
    found = in_wheel(wheel)
    kernels, overlaps = sorted(name for name in found if name.endswith(".so"))
    assert kernels.startswith("caffe/kernels/_cpu.") and overlaps.startswith("frcnn/utils/cython_bbox.")
    packed = engine_files(*PACKED) | {f"frcnn/{name.removeprefix('frcnn/')}" for name in detector_files()}
    assert {name for name in found if ".dist-info/" not in name} == packed | {kernels, overlaps}
    licenses = {name.rpartition("/")[2] for name in found if "/licenses/" in name}
    assert licenses == {"LICENSE", "NOTICE"}


def test_the_version_is_that_of_the_source(sdist, wheel):
    source = (ROOT / ENGINE / "caffe" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"', source, re.MULTILINE)[1]
    assert sdist.name == f"caffe-{version}.tar.gz" and wheel.name.startswith(f"caffe-{version}-")


def test_cython_is_needed_only_for_the_build(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode().lower()
    assert "requires-dist: numpy" in text and "requires-dist: cython" not in text


def test_a_net_runs_in_another_folder(environment, elsewhere):
    package, kernels, *pooled = run(environment / "bin" / "python", "-c", RUN_NET, cwd=elsewhere).split()
    assert Path(package).is_relative_to(environment) and Path(kernels).is_relative_to(environment)
    assert [int(value) for value in pooled] == [7, 9, 11, 19, 21, 23, 31, 33, 35, 43, 45, 47]


def test_the_programs_run(environment, elsewhere):
    assert run(environment / "bin" / "caffe", "--version", cwd=elsewhere).startswith("caffe version ")
    assert "ROIPooling" in run(environment / "bin" / "caffe", "inspect", "net.pt", cwd=elsewhere)
    [tool] = environment.glob("lib/python*/site-packages/caffe/tools/upgrade_net_proto_text")
    for number, program in enumerate((environment / "bin" / "upgrade_net_proto_text", tool)):
        run(program, "net.pt", f"new{number}.pt", cwd=elsewhere)
        assert "ROIPooling" in (elsewhere / f"new{number}.pt").read_text()


def test_a_detector_works_in_another_folder(environment, tmp_path, monkeypatch):
    """Relative paths refer to the working directory, which may hold modules named like lib's packages."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "lib")
    from frcnn_runs import make_run

    from datasets.demo_scenes import make_demo_dataset
    data = make_demo_dataset(tmp_path / "data", num_train=1, num_test=2)
    make_run(tmp_path / "run", ("ball", "brick", "ring", "star"))
    (tmp_path / "photos").symlink_to(data / "JPEGImages")
    (tmp_path / "utils.py").write_text("MINE = True")
    lines = run(environment / "bin" / "python", "-c", USE_DETECTOR, cwd=tmp_path).splitlines()
    assert Path(lines[-1]).is_relative_to(environment) and "(300, 806, 3)" in lines[-2]
