"""Runs commands in this process."""
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffe.commands import main

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "engine" / "files"

NET = """
name: "tiny"
layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "%s" batch_size: 2 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" loss_weight: 2 }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.0001 momentum: 0.9 lr_policy: "fixed" max_iter: 6 random_seed: 1 display: 2
solver_mode: GPU
"""


class Printed:
    """Result of a command: its exit status and the two streams."""

    def __init__(self, status, captured):
        self.status, self.out, self.err = status, captured.out, captured.err


@pytest.fixture
def run(capsys):
    """`run("train", "-solver", path)`: runs a command that is expected to succeed, or to fail with `fails=True`."""
    def call(*words, fails=False):
        capsys.readouterr()
        result = Printed(main([str(word) for word in words]), capsys.readouterr())
        assert (result.status != 0) == fails, result.err
        if fails:
            assert result.status == 2 and not result.out
            assert [line for line in result.err.splitlines() if not line[1:5].isdigit()][-1].startswith("caffe ")
        return result
    return call


@pytest.fixture(scope="session")
def golden_files():
    return GOLDEN


@pytest.fixture
def photographs(tmp_path):
    """Five colour images of 6 x 9 pixels, and a list of them with labels 3, 4, ..."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.RandomState(0)
    lines = []
    for index, ending in enumerate(("png", "jpg", "png", "jpeg", "png")):
        name = f"an image {index}.{ending}"
        cv2.imwrite(str(folder / name), random.randint(0, 256, (6, 9, 3)).astype(np.uint8))
        lines.append(f"{name} {index + 3}\n")
    (folder / "list.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def project(tmp_path, photographs, run):
    """A folder with an LMDB database, a net that reads it, and a solver."""
    pytest.importorskip("lmdb")
    run("convert_imageset", f"{photographs}/", photographs / "list.txt", tmp_path / "db")
    (tmp_path / "net.prototxt").write_text(NET % (tmp_path / "db"))
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path
