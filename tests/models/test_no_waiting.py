"""Training on a GPU gives the CPU's losses, and synchronises only where shapes of tops depend on values.

Synchronisation is detected without a GPU: blobs' arrays record on which side their values would be, and PyTorch reports
each value that is fetched.
"""
import contextlib
import traceback
from pathlib import Path

import pytest
import torch
from golden.record_trajectories import set_weights
from test_tiny import roidb, settings  # noqa: F401  (fixtures)
from torch.utils._python_dispatch import TorchDispatchMode

import caffe
from caffe.engine import device
from caffe.engine.bases.losses import LossLayer
from caffe.engine.blob import _Array
from caffe.kernels import roi_pooling
from fast_rcnn.config import cfg
from fast_rcnn.train import SolverWrapper
from roi_data_layer import layer as data_layers
from rpn import proposal_layer
from rpn import proposals as rpn_proposals

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "lib", ROOT / "caffe-fast-rcnn")
HIDDEN = ("blob.py",)       # its callers are recorded instead
ASKING = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.masked_select.default"}


class Waits(TorchDispatchMode):
    """Collects the files of lib and the engine that would wait for a GPU."""

    def __init__(self, patch):
        super().__init__()
        self.found = set()
        self._away = set()      # identities of the arrays whose values would be on the GPU
        for name, moves in {"assign": self._away.add, "as_tensor": self._away.add, "as_numpy": self._fetch,
                            "adopt": self._away.discard, "discard": self._away.discard,
                            "clear": self._away.discard}.items():
            patch.setattr(_Array, name, self._noting(getattr(_Array, name), moves))

    def _noting(self, method, moves):
        def noted(array, *arguments):
            moves(id(array))
            return method(array, *arguments)
        return noted

    def _fetch(self, array):
        if array in self._away:
            self._note()
        self._away.discard(array)

    def _note(self):
        callers = [Path(frame.filename) for frame in traceback.extract_stack()]
        self.found.add([path.name for path in callers if any(map(path.is_relative_to, SOURCES))
                        and path.name not in HIDDEN][-1])

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        if str(function) in ASKING:
            self._note()
        return function(*arguments, **(keywords or {}))


@pytest.fixture
def as_gpu(monkeypatch):
    """Makes layers treat the CPU as a GPU and skip checks that are for the CPU only."""
    monkeypatch.setattr(data_layers, "is_on_gpu", lambda blob: True)
    monkeypatch.setattr(proposal_layer, "is_on_gpu", lambda blob: True)
    monkeypatch.setattr(rpn_proposals, "nms_gpu", lambda _: 0)
    monkeypatch.setattr(LossLayer, "check_labels", lambda *arguments: None)
    monkeypatch.setattr(roi_pooling, "_check_values", lambda *arguments: None)
    return monkeypatch


@contextlib.contextmanager
def made(tiny, solver, entries, folder):
    """A solver of Tiny."""
    cfg.TRAIN.HAS_RPN = "rpn_solver" in solver or "end2end" in solver
    cfg.TRAIN.USE_OHEM = "alt_opt/stage1_fast" in solver or "end2end_ohem" in solver
    cfg.TRAIN.BBOX_REG, cfg.NUM_WORKERS = "rpn_solver" not in solver, 0
    with contextlib.closing(SolverWrapper(tiny / solver, entries, folder)) as wrapper:
        yield wrapper


@contextlib.contextmanager
def trained(tiny, solver, entries, folder):
    """A solver of Tiny, and its losses, after two iterations, which fill caches such as that of anchors."""
    with made(tiny, solver, entries, folder) as wrapper:
        wrapper.solver.step(2)
        yield wrapper
        assert all(loss > 0 for loss in wrapper.losses.means().values())


WITHOUT_PROPOSALS = ["faster_rcnn_alt_opt/stage1_rpn_solver60k80k.pt",
                     "faster_rcnn_alt_opt/stage1_fast_rcnn_solver30k40k.pt",
                     "faster_rcnn_alt_opt_no_ohem/stage2_fast_rcnn_solver30k40k.pt"]
END_TO_END = ["faster_rcnn_end2end/solver.pt", "faster_rcnn_end2end_ohem/solver.pt"]


@pytest.mark.parametrize("solver", [*WITHOUT_PROPOSALS, *END_TO_END])
def test_iterations_wait_for_proposals_only(solver, roidb, as_gpu, tiny, tmp_path):     # noqa: F811
    waits = Waits(as_gpu)
    with trained(tiny, solver, roidb, tmp_path) as wrapper:
        waits.found.clear()
        with waits:
            for _ in range(3):
                wrapper.solver.step(1)
                wrapper.losses.iteration_done()
        proposing = {"proposal_layer.py", "proposal_target_layer.py"} if solver in END_TO_END else set()
        assert waits.found == proposing


@pytest.fixture
def gpu():
    """Puts blobs on the GPU; skips the test if there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    caffe.set_mode_gpu()
    yield
    caffe.set_mode_cpu()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("solver", WITHOUT_PROPOSALS)
def test_training_does_not_wait_for_a_gpu(solver, precision, roidb, tiny, tmp_path, gpu):    # noqa: F811
    with device.use_precision(precision), trained(tiny, solver, roidb, tmp_path) as wrapper:
        torch.cuda.set_sync_debug_mode("error")
        try:
            wrapper.solver.step(3)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("solver", [*WITHOUT_PROPOSALS, *END_TO_END])
def test_a_gpu_trains_as_the_cpu_does(solver, roidb, tiny, tmp_path, gpu):  # noqa: F811
    losses = []
    for mode in (caffe.set_mode_gpu, caffe.set_mode_cpu):
        mode()
        with made(tiny, solver, roidb, tmp_path) as wrapper:
            net = wrapper.solver.net
            set_weights(net)
            for _ in range(4):
                wrapper.solver.step(1)
                losses.append({name: float(net.blobs[name].data) for name in net.outputs if "loss" in name})
    for on_gpu, on_cpu in zip(losses[:4], losses[4:], strict=True):
        assert on_gpu == pytest.approx(on_cpu, rel=1e-4) and all(on_cpu.values())
