"""The engine's log goes to stderr by default, as pycaffe's does, and can be silenced."""
import logging
import os
import re
from pathlib import Path

import pytest
from forked_python import run_python

import caffe
from caffe.proto import caffe_pb2, prototxt

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
BUILT = """Creating layer in
Creating Layer in
in -> x
in -> y
Setting up in
Top shape: 2 3 (6)
Top shape: 2 4 (8)
Memory required for data: 56
Creating layer fc
Creating Layer fc
fc <- x
fc -> z
Setting up fc
Top shape: 2 4 (8)
Memory required for data: 88
Creating layer loss
Creating Layer loss
loss <- z
loss <- y
loss -> loss
Setting up loss
Top shape: (1)
    with loss weight 1
Memory required for data: 92
loss needs backward computation.
fc needs backward computation.
in does not need backward computation.
This network produces output loss
Network initialization done.""".splitlines()
LINE = r"[IW]\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ \w+\.py:\d+\] "


def stderr(tmp_path, program=TRAINS, before="", **environment):
    done = run_python(program.replace("BEFORE", before), clean(environment), tmp_path)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    return done.stderr


def clean(environment):
    return {key: value for key, value in os.environ.items() if key != "GLOG_minloglevel"} | environment


def test_losses_and_learning_rates_are_shown_by_default(tmp_path):
    lines = stderr(tmp_path).splitlines()
    assert all(re.match(LINE, line) for line in lines), lines
    said = [re.sub(LINE, "", line) for line in lines]
    assert said[:len(BUILT)] == BUILT
    said = said[len(BUILT):]
    assert said[:3] == ["Iteration 0, loss = 2", "    Train net output #0: loss = 2 (* 1 = 2 loss)",
                        "Iteration 0, lr = 0.1"]
    assert said[3].startswith("Iteration 1 (") and "an own line" in said and "has no weights" in lines[-1]
    assert lines[-1].startswith("W")


@pytest.mark.parametrize("level, shown", [("1", True), ("2", False), ("3", False)])
def test_the_environment_sets_the_level(tmp_path, level, shown):
    said = stderr(tmp_path, GLOG_minloglevel=level)
    assert ("has no weights" in said) == shown and "Iteration" not in said and len(said.splitlines()) == shown
    assert not re.match(LINE, said)


def test_in_place_layers_and_splits_are_logged(caplog):
    net = prototxt.parse("""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 } } }
        layer { name: "r" type: "ReLU" bottom: "x" top: "x" }
        layer { name: "a" type: "Power" bottom: "x" top: "a" }
        layer { name: "b" type: "Power" bottom: "x" top: "b" }""",
                         caffe_pb2.NetParameter())
    with caplog.at_level(logging.INFO, "caffe.net"):
        caffe.Net(net, caffe.TEST)
    assert {"r -> x (in-place)", "x_r_0_split <- x", "x_r_0_split -> x_r_0_split_1", "b <- x_r_0_split_1",
            "This network produces output a", "Memory required for data: 48"} <= set(caplog.messages)


def test_no_record_is_made_for_lines_that_are_not_shown(tmp_path):
    """No record is made, so that construction costs the same as without a log."""
    program = TRAINS.replace("\ntrain()\n", """
import logging
made = []
logging.setLogRecordFactory(lambda *args, **more: made.append(args[0]) or logging.LogRecord(*args, **more))
caffe.Net(net, caffe.TEST)
assert ("caffe.net" in made) == SHOWN, made
""")
    assert stderr(tmp_path, program.replace("SHOWN", "False"), GLOG_minloglevel="1") == ""
    quiet = "import logging; logging.getLogger('caffe.net').setLevel('WARNING')"
    assert stderr(tmp_path, program.replace("SHOWN", "False"), quiet) == ""
    assert "Network initialization done." in stderr(tmp_path, program.replace("SHOWN", "True"))


@pytest.mark.parametrize("words, shown", [(["inspect"], False), (["time", "-iterations", "1", "-model"], True)])
def test_commands_show_the_log_where_those_of_caffe_do(tmp_path, words, shown):
    (tmp_path / "net.pt").write_text('layer { name: "a" type: "Input" top: "x" input_param { shape { dim: 1 } } }')
    program = f"import sys; sys.path[:0] = [{PACKAGE!r}]; from caffe.commands import main; main({[*words, 'net.pt']})"
    done = run_python(program, clean({}), tmp_path)
    assert done.returncode == 0 and ("Top shape: 1 (1)" in done.stderr) == shown, done.stderr


def test_an_invalid_level_in_the_environment_is_ignored(tmp_path):
    assert "Iteration 0, loss = 2" in stderr(tmp_path, GLOG_minloglevel="many")


def test_init_log_prints_each_line_once(tmp_path):
    said = stderr(tmp_path, before="import caffe; caffe.init_log()")
    assert said.count("Iteration 0, loss") == 1 and re.match(LINE, said)
    assert "Iteration" not in stderr(tmp_path, before="import caffe; caffe.init_log(1)")


def test_a_program_that_configures_logging_handles_the_lines(tmp_path):
    before = "import logging; logging.basicConfig(filename='log', format='%(name)s %(message)s', level=logging.INFO)"
    assert stderr(tmp_path, before=before) == ""
    assert "caffe Iteration 0, loss = 2" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("chosen, quiet", [({}, True), ({"GLOG_minloglevel": "0"}, False)])
def test_the_tools_silence_the_log(tmp_path, chosen, quiet):
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
