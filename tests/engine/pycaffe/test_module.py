"""The API of `import caffe`: functions, solvers, Python layers and parameters, idioms of scripts."""
import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import caffe
import caffe.draw
import caffe.io
from caffe import layers as L
from caffe import params as P
from caffe.coord_map import coord_map_from_to, crop
from caffe.logs import LogFormatter

NAMES = """Net SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver AdamSolver NCCL Timer init_log log
 set_mode_cpu set_mode_gpu set_device Layer get_solver layer_type_list set_random_seed solver_count set_solver_count
 solver_rank set_solver_rank set_multiprocess has_nccl __version__ TRAIN TEST Classifier Detector io layers params
 NetSpec to_proto proto""".split()
IO_NAMES = """blobproto_to_array array_to_blobproto arraylist_to_blobprotovector_str blobprotovector_str_to_arraylist
 array_to_datum datum_to_array Transformer load_image resize_image oversample caffe_pb2 resize zoom skimage""".split()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_package(name):
    assert hasattr(caffe, name)


@pytest.mark.parametrize("name", IO_NAMES)
def test_names_of_io(name):
    assert hasattr(caffe.io, name)


def test_modules_exist():
    assert callable(coord_map_from_to) and callable(crop) and callable(caffe.draw.draw_net_to_file)
    assert P.Pooling.AVE == 1 and L.ReLU(L.Input()).fn.type_name == "ReLU"


def test_import_gives_no_warnings():
    package = Path(caffe.__file__).parent.parent
    program = (f"import sys; sys.path.insert(0, {str(package)!r})\n"
               "import caffe, caffe.io, caffe.draw, caffe.coord_map, caffe.classifier, caffe.detector, caffe.net_spec\n"
               "import caffe.proto.caffe_pb2, caffe.pycaffe, caffe.export")
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)


def test_one_process_counts_as_one_solver():
    assert (caffe.solver_count(), caffe.solver_rank(), caffe.has_nccl()) == (1, 0, False)
    caffe.set_solver_count(4)
    caffe.set_solver_rank(3)
    caffe.set_multiprocess(True)
    try:
        assert (caffe.solver_count(), caffe.solver_rank()) == (4, 3)
    finally:
        caffe.set_solver_count(1)
        caffe.set_solver_rank(0)
        caffe.set_multiprocess(False)
    with pytest.raises(RuntimeError, match="has_nccl"):
        caffe.NCCL(None, "")


def test_log(caplog):
    before = logging.getLogger("caffe").level
    try:
        caffe.init_log(0)
        with caplog.at_level(logging.INFO, "caffe"):
            caffe.log("hello")
        caffe.init_log(2, True)
        assert logging.getLogger("caffe").level == logging.ERROR
    finally:
        logging.getLogger("caffe").setLevel(before)
    assert "hello" in caplog.messages


def test_log_lines_have_glogs_format():
    record = logging.LogRecord("caffe", logging.WARNING, "/a/solver.py", 20, "Iteration %d", (3,), None)
    line = LogFormatter().format(record)
    assert re.fullmatch(r"W\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ solver\.py:20\] Iteration 3", line)


def test_the_compiled_module_is_available_after_import():
    program = f"import sys; sys.path.insert(0, {str(Path(caffe.__file__).parent.parent)!r})\n" \
              "import caffe; caffe._caffe.Net, caffe._caffe.set_mode_cpu"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_compiled_modules_names():
    from caffe import _caffe
    names = """Net Blob Layer Solver SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver AdamSolver
     Timer NCCL LayerParameter SolverParameter BlobVec get_solver layer_type_list set_mode_cpu set_device init_log"""
    assert all(hasattr(_caffe, name) for name in names.split())
    assert _caffe.Net is caffe.Net and _caffe.RawBlobVec is _caffe.StringVec is list
    assert issubclass(caffe.AdamSolver, _caffe.Solver)


def test_timer():
    timer = caffe.Timer()
    timer.start()
    time.sleep(0.02)
    timer.stop()
    assert 15 < timer.ms < 2000


def test_layer_types():
    types = list(caffe.layer_type_list())
    assert types == sorted(types) and {"Convolution", "Python", "ROIPooling", "LSTM"} <= set(types)


# ---------------------------------------------------------------------------------------------- solvers
NET = """
layer { name: "in" type: "DummyData" top: "x" top: "t"
  dummy_data_param { shape { dim: 3 dim: 4 } shape { dim: 3 dim: 5 }
  data_filler { type: "constant" value: 1 } data_filler { type: "constant" value: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 5
  weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


@pytest.fixture
def solver_file(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    path = tmp_path / "solver.prototxt"
    path.write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 4 momentum: 0.5 test_iter: 1 '
                    'test_interval: 100 snapshot_prefix: "model"\n')
    return str(path)


def test_solver_attributes(solver_file):
    solver = caffe.SGDSolver(solver_file)
    assert isinstance(solver.net, caffe.Net) and isinstance(solver.test_nets[0], caffe.Net)
    assert (solver.iter, solver.param.max_iter, solver.param.display) == (0, 4, 0)
    assert solver.param.base_lr == pytest.approx(0.1)
    assert type(caffe.get_solver(solver_file)) is caffe.SGDSolver


def test_solver_callbacks_and_step(solver_file):
    solver, calls = caffe.SGDSolver(solver_file), []
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("gradients"))
    solver.step(2)
    assert calls == ["start", "gradients"] * 2 and solver.iter == 2


def test_own_loop_with_apply_update(solver_file):
    solver = caffe.SGDSolver(solver_file)
    solver.net.clear_param_diffs()
    solver.net.forward()
    solver.net.backward()
    bias, gradient = (getattr(solver.net.params["fc"][1], name).copy() for name in ("data", "diff"))
    solver.apply_update()
    np.testing.assert_allclose(solver.net.params["fc"][1].data, bias - 0.1 * gradient, rtol=1e-5)
    assert solver.iter == 1


def test_share_weights(solver_file):
    solver, net = caffe.SGDSolver(solver_file), caffe.SGDSolver(solver_file).net
    solver.share_weights(net)
    solver.net.params["fc"][1].data[...] = 7
    assert (net.params["fc"][1].data == 7).all()


def test_snapshot_and_restore(solver_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver = caffe.SGDSolver(solver_file)
    solver.step(3)
    solver.snapshot()
    (state,) = tmp_path.glob("*.solverstate")
    again = caffe.SGDSolver(solver_file)
    again.restore(str(state))
    again.solve()
    solver.solve()
    assert again.iter == solver.iter == 4
    np.testing.assert_array_equal(again.net.params["fc"][0].data, solver.net.params["fc"][0].data)


# ---------------------------------------------------------------------------------------------- Python layers
class Offset(caffe.Layer):
    """Adds its own parameter."""

    def setup(self, bottom, top):
        self.blobs.add_blob(1, 2)
        self.blobs.add_blob(*bottom[0].data.shape)
        self.blobs[1].data[...] = float(self.param_str)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + self.blobs[1].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff


def test_add_blob_gives_a_layer_parameters(tmp_path):
    path = tmp_path / "python.prototxt"
    path.write_text(f"""
layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 3 dim: 4 }} }} }}
layer {{ name: "off" type: "Python" bottom: "x" top: "y"
  python_param {{ module: "{__name__}" layer: "Offset" param_str: "2.5" }} }}
""")
    net = caffe.Net(str(path), caffe.TEST)
    assert [blob.shape for blob in net.params["off"]] == [(1, 2), (3, 4)]
    assert isinstance(net.layers[1], Offset) and net.layers[1].type == "Python"
    assert (net.forward()["y"] == 2.5).all()
