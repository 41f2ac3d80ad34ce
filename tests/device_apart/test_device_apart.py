"""The GPU code of caffe and the detector on a simulated device (see device_apart.py).

On a machine with a GPU, the same tests run on the GPU directly instead.
"""
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from device_apart import ROOT, build, environment

from caffe.engine.files.caffemodel import read_weights
from datasets.demo_scenes import make_demo_dataset

pytestmark = [pytest.mark.slow, pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU takes its place")]
SETTINGS = ["TRAIN.SCALES", "(160,)", "TRAIN.MAX_SIZE", "240", "TEST.SCALES", "(160,)", "TEST.MAX_SIZE", "240",
            "TRAIN.RPN_PRE_NMS_TOP_N", "192", "TRAIN.RPN_POST_NMS_TOP_N", "60", "TRAIN.BATCH_SIZE", "16",
            "NUM_WORKERS", "0"]
LAYERS = [path for path in sorted((ROOT / "tests" / "engine" / "layers").glob("test_*.py"))      # that compare devices
          if "from layer_checker" in (text := path.read_text(encoding="utf-8")) and " check(" in text]
TESTS = {"layers": LAYERS,
         "recorded cases": ["tests/golden/test_engine.py", "-k", "gpu"],
         "blobs and training": ["tests/engine/test_blob.py", "tests/models/test_no_waiting.py", "-k", "gpu or travels"]}
WHERE = "(str(blob.tensor.device), blob.tensor.sum().item())"
MIXING = {"blob.tensor + torch.ones(2, 3)": "Expected all tensors to be on the same device",
          "blob.tensor @ torch.ones(3, 2)": "aten::mm: expected all tensors on one device"}
ASKING = ["blob.data", "blob.tensor.sum().item()", "blob.tensor.nonzero()",
          "torch.ones(2, 3).to(blob.tensor.device)"]
MAKE_BLOB = """
import caffe
def make_blob():
    caffe.set_mode_gpu()
    blob = caffe.Blob(2, 3)
    blob.data[...] = 7
    blob.tensor     # copies the values to the device
    return blob
"""
OUTCOMES = MAKE_BLOB + f"""
import json, torch
def outcome(operation, mode):
    blob = make_blob()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        blob.tensor + 1
        return str(eval(operation))
    except Exception as error:
        return str(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
print(json.dumps([{{operation: outcome(operation, mode) for operation in operations}}
                  for mode, operations in (("default", {[WHERE, *MIXING]}), ("error", {ASKING}))]))
"""


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Runs Python with the simulated device; returns the exit status and the output."""
    folder = tmp_path_factory.mktemp("device")
    build(folder)

    def run(*arguments):
        done = subprocess.run([sys.executable, *map(str, arguments)], env=environment(folder), cwd=ROOT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500)
        return done.returncode, done.stdout
    return run


@pytest.mark.parametrize("what", TESTS)
def test_passes_on_the_device(what, run):
    status, text = run("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *TESTS[what])
    assert status == 0 and "no GPU" not in text, text


@pytest.fixture(scope="module")
def outcomes(run):
    """The value or error of each operation on a blob: first as usual, then with waiting for the device as an error."""
    status, text = run("-c", OUTCOMES)
    assert status == 0, text
    return json.loads(text.splitlines()[-1])


def test_blobs_are_on_the_device(outcomes):
    assert outcomes[0][WHERE] == "('apart:0', 42.0)"


def test_the_host_cannot_reach_its_memory(run):
    status, _ = run("-c", f"{MAKE_BLOB}import ctypes; ctypes.string_at(make_blob().tensor.data_ptr(), 4)")
    assert status == -11    # segmentation fault


@pytest.mark.parametrize("operation, error", MIXING.items())
def test_tensors_of_both_sides_do_not_mix(operation, error, outcomes):
    assert error in outcomes[0][operation]


@pytest.mark.parametrize("asking", ASKING)
def test_waits_are_detected(asking, outcomes):
    assert "the host waits for the device apart" in outcomes[1][asking]


def test_the_four_stages_reach_the_weights_of_the_cpu(run, tmp_path):
    data = make_demo_dataset(tmp_path / "data", num_train=3, num_test=1)
    weights = []
    for device in ("--gpu=0", "--cpu"):
        output = tmp_path / device
        status, text = run("tests/end_to_end/forked_steps.py", "--net_name", "Tiny", device, "--imdb",
                           f"{data}:trainval", "--max_iters", 2, 2, 2, 8, "--output", output, "--set", *SETTINGS)
        assert status == 0, text
        assert "computed once for each image" in text
        weights.append(read_weights(output / "Tiny_faster_rcnn_final.caffemodel"))
    for (layer, on_gpu), (same_layer, on_cpu) in zip(*weights, strict=True):
        assert layer == same_layer
        for array, expected in zip(on_gpu, on_cpu, strict=True):
            np.testing.assert_allclose(array, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=layer)
