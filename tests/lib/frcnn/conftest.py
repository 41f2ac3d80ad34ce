"""A finished run, and photographs of noise."""
import cv2
import numpy as np
import pytest
from frcnn_runs import make_run

import caffe


@pytest.fixture(autouse=True)
def usual_precision():
    yield
    caffe.set_precision("float32")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def photos(tmp_path):
    """Three photographs in a folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)
        cv2.imwrite(str(folder / f"im{number}.png"), noise)
    return folder
