"""The engine's log reaches stderr by itself, as pycaffe's does, and can be quietened."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import caffe

PACKAGE = str(Path(caffe.__file__).parent.parent)
LIB = str(Path(PACKAGE).parent.parent / "lib")
TRAINS = f"""
import sys; sys.path[:0] = [{PACKAGE!r}, {LIB!r}]
BEFORE
import caffe
from caffe.proto import caffe_pb2, prototxt
net = prototxt.parse('''
    layer {{ name: "in" type: "DummyData" top: "x" top: "y"
            dummy_data_param {{ shape {{ dim: 2 dim: 3 }} shape {{ dim: 2 dim: 4 }} data_filler {{ value: 1 }} }} }}
    layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "z" inner_product_param {{ num_output: 4 }} }}
    layer {{ name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "y" top: "loss" }}''', caffe_pb2.NetParameter())
def train():
    solver = caffe.get_solver(caffe_pb2.SolverParameter(net_param=net, base_lr=0.1, lr_policy="fixed", display=1))
    solver.step(2)
    caffe.log("an own line")
    other = caffe.Net(net, caffe.TEST)
    caffe.Net(prototxt.parse('layer {{ name: "a" type: "Input" top: "x" input_param {{ shape {{ dim: 1 }} }} }}',
                             caffe_pb2.NetParameter()), caffe.TEST).save("empty.caffemodel")
    other.copy_from("empty.caffemodel")     # a warning: there are no weights for fc
    return 0
train()
"""
LINE = r"[IW]\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ \w+\.py:\d+\] "


def stderr(tmp_path, program=TRAINS, before="", **environment):
    done = subprocess.run([sys.executable, "-c", program.replace("BEFORE", before)], text=True, capture_output=True,
                          cwd=tmp_path, env=clean(environment), timeout=120)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    return done.stderr


def clean(environment):
    return {key: value for key, value in os.environ.items() if key != "GLOG_minloglevel"} | environment


def test_losses_and_rates_are_shown_without_being_asked_for(tmp_path):
    lines = stderr(tmp_path).splitlines()
    assert all(re.match(LINE, line) for line in lines), lines
    said = [re.sub(LINE, "", line) for line in lines]
    assert said[:3] == ["Iteration 0, loss = 2", "    Train net output #0: loss = 2 (* 1 = 2 loss)",
                        "Iteration 0, lr = 0.1"]
    assert said[3].startswith("Iteration 1 (") and "an own line" in said and "has no weights" in lines[-1]
    assert lines[-1].startswith("W")


@pytest.mark.parametrize("level, shown", [("1", True), ("2", False), ("3", False)])
def test_the_environment_sets_the_level(tmp_path, level, shown):
    said = stderr(tmp_path, GLOG_minloglevel=level)
    assert ("has no weights" in said) == shown and "Iteration" not in said and len(said.splitlines()) == shown
    assert not re.match(LINE, said)


def test_nonsense_in_the_environment_is_as_nothing(tmp_path):
    assert "Iteration 0, loss = 2" in stderr(tmp_path, GLOG_minloglevel="many")


def test_init_log_prints_each_line_once(tmp_path):
    said = stderr(tmp_path, before="import caffe; caffe.init_log()")
    assert said.count("Iteration 0, loss") == 1 and re.match(LINE, said)
    assert "Iteration" not in stderr(tmp_path, before="import caffe; caffe.init_log(1)")


def test_a_program_that_configures_logging_has_the_lines_where_it_wants(tmp_path):
    before = "import logging; logging.basicConfig(filename='log', format='%(name)s %(message)s', level=logging.INFO)"
    assert stderr(tmp_path, before=before) == ""
    assert "caffe Iteration 0, loss = 2" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("chosen, quiet", [({}, True), ({"GLOG_minloglevel": "0"}, False)])
def test_the_tools_quieten_it(tmp_path, chosen, quiet):
    program = TRAINS.replace("\ntrain()\n", """
from commands.options import tool
import os
assert tool(lambda argv=None: train())() == 0
assert os.environ.get("GLOG_minloglevel") == (None if QUIET else "0")
""".replace("QUIET", str(quiet)))
    said = stderr(tmp_path, program, **chosen)
    assert ("Iteration" not in said) == quiet
    if quiet:
        assert said.startswith("empty.caffemodel has no weights for these layers") and said.count("\n") == 1
