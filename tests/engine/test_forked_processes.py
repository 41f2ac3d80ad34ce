"""Forked children of a process that has run a net compute the same results."""
import subprocess
import sys

import pytest

PROGRAM = '''
import multiprocessing, sys
import numpy as np
import caffe

NET = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 8 dim: 64 dim: 64 } } }
         layer { name: "y" type: "KIND" bottom: "x" top: "y" SETTINGS }"""

def compute(seed):
    caffe.set_random_seed(0)
    net = caffe.Net(sys.argv[1], caffe.TEST)
    net.blobs["x"].data[...] = np.random.default_rng(seed).standard_normal(net.blobs["x"].shape)
    return net.forward()["y"]

if __name__ == "__main__":
    open(sys.argv[1], "w").write(NET)
    wanted = [compute(seed) for seed in range(2)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(compute, range(2)).get(60)
    for one, other in zip(wanted, found):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    print("equal")
'''


@pytest.mark.slow
@pytest.mark.parametrize("kind, settings", [
    ("Convolution", "convolution_param { num_output: 32 kernel_size: 3 weight_filler { type: 'xavier' } }"),
    ("InnerProduct", "inner_product_param { num_output: 64 weight_filler { type: 'xavier' } }"),
    ("LRN", ""), ("Sigmoid", "")])
def test_a_forked_child_runs_a_net(tmp_path, kind, settings):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("KIND", kind).replace("SETTINGS", settings))
    environment = {"OMP_NUM_THREADS": "2", "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-W", "ignore", program, tmp_path / "net.pt"], env=environment, timeout=120,
                          capture_output=True, text=True)
    assert done.stdout == "equal\n", done.stderr
