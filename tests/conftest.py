"""Makes `caffe` and the detector's packages importable from the checkout; adds the golden-set options."""
import logging
import os
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT / "tools", ROOT / "lib", ROOT / "caffe-fast-rcnn" / "python"):
    sys.path.insert(0, str(folder))

logging.getLogger("caffe.net").setLevel(logging.WARNING)     # the log of every net would fill the reports of failures

# A shell starts background jobs with SIGINT ignored, nohup with SIGHUP; the tests send both and wait for the effect
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_addoption(parser):
    golden = ROOT / "tests" / "golden"
    parser.addoption("--golden-engine", default=str(golden / "engine"), metavar="DIR",
                     help="recorded engine cases to check (default: tests/golden/engine)")
    parser.addoption("--golden-detector", default=str(golden / "detector"), metavar="DIR",
                     help="recorded detector cases to check (default: tests/golden/detector)")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real photographs and caffemodels; tests that use it are skipped if it is missing."""
    folder = Path(os.environ.get("FRCNN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set FRCNN_SHARED_DATA to the folder that holds BCCD and caffe")
    return folder


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory):
    """A data set of six training and two test images with four kinds of shapes."""
    from datasets.demo_scenes import make_demo_dataset
    return make_demo_dataset(tmp_path_factory.mktemp("data") / "demo", num_train=6, num_test=2)


@pytest.fixture
def bfloat16_everywhere(monkeypatch):
    """Computes in bfloat16 if that is set, also on a machine that emulates it."""
    from caffe.engine import device
    monkeypatch.setattr(device, "has_bfloat16", lambda: True)


@pytest.fixture
def default_settings():
    """Resets cfg to its defaults before and after the test; modules request it in their `pytestmark`."""
    from fast_rcnn.config import reset_cfg
    reset_cfg()
    yield
    reset_cfg()
