"""Loss curves and TensorBoard logs of a running training."""
import io
import json
import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from commands.curves import PlotHook, TensorBoard, check_tensorboard, plot_losses
from fast_rcnn.train_log import TrainLog
from utils.errors import UserError

MODULE = "torch.utils.tensorboard"


class Writer:
    """Records what a SummaryWriter is given."""

    calls: list = []

    def __init__(self, folder, purge_step):
        self.calls.append(("new", folder, purge_step))

    def add_scalar(self, name, value, iteration):
        self.calls.append((name, value, iteration))

    def add_image(self, name, picture, iteration, dataformats):
        self.calls.append((name, picture.shape, picture[0, 0].tolist(), iteration, dataformats))

    def flush(self):
        pass


@pytest.fixture
def writer(monkeypatch):
    module = ModuleType(MODULE)
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, MODULE, module)
    monkeypatch.setattr(Writer, "calls", [])
    return Writer


def test_without_the_package_tensorboard_one_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(UserError, match="--tensorboard: the package tensorboard is missing; pip install tensorboard"):
        check_tensorboard()


def test_scalars_and_pictures_for_tensorboard(writer, tmp_path):
    check_tensorboard()
    log = TrainLog("s", 40, stream=io.StringIO(), listeners=[TensorBoard(tmp_path)])
    log.start(20)
    log.report(40, {"loss_cls": 0.5}, 1.0, 0.25, {"OHEMDataLayer": {"hard": 2.0}})
    [board] = log.listeners
    board.validation(40, {"AP50": 0.5}, [np.arange(12, dtype=np.uint8).reshape(2, 2, 3)])
    assert writer.calls[0] == ("new", str(tmp_path), 21)
    assert {("loss/sum", 1.0, 40), ("loss/loss_cls", 0.5, 40), ("lr", 0.25, 40), ("OHEMDataLayer/hard", 2.0, 40)} <= {
        call for call in writer.calls if len(call) == 3}
    assert writer.calls[-2:] == [("detections/0", (2, 2, 3), [2, 1, 0], 40, "HWC"), ("validation/AP50", 0.5, 40)]


def test_loss_curves_have_a_panel_for_each_stage(tmp_path):
    logs = []
    for stage in ("stage1_rpn", "stage1_fast_rcnn"):
        logs.append(tmp_path / f"{stage}.jsonl")
        logs[-1].write_text("".join(json.dumps({"iteration": i, "stage": stage, "loss": 3.0 / i, "losses": {
            "loss_cls": 2.0 / i, "loss_bbox": 1.0 / i}, "lr": 0.1, "seconds": 1.0}) + "\n" for i in range(1, 9)))
    plot_losses(logs, tmp_path / "losses.png")
    height, width = cv2.imread(str(tmp_path / "losses.png")).shape[:2]
    assert (width, height) == (1000, 400)
    with pytest.raises(ValueError, match="no records"):
        plot_losses([], tmp_path / "losses.png")


def test_the_loss_plot_is_updated_while_a_stage_runs(tmp_path):
    logs, stream = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], io.StringIO()
    hook = PlotHook(logs, tmp_path / "losses.png", TrainLog("b", 40, stream=stream), seconds=0)
    hook.at_start(SimpleNamespace())
    hook.after_iteration(SimpleNamespace())
    assert "b  losses.png is not drawn: no records in no files" in stream.getvalue()
    record = {"iteration": 1, "stage": "a", "loss": 1, "losses": {"x": 1}, "lr": 1, "seconds": 1}
    logs[0].write_text(json.dumps(record) + "\n")
    hook.after_iteration(SimpleNamespace())
    assert (tmp_path / "losses.png").stat().st_size > 1000
    late = PlotHook(logs, tmp_path / "late.png", TrainLog("b", 40, stream=stream))
    late.at_start(SimpleNamespace())
    late.after_iteration(SimpleNamespace())
    assert not (tmp_path / "late.png").exists()
