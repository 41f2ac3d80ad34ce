"""Hard RoIs are recorded while Tiny trains, without changing the training, even if it is resumed."""
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from test_no_waiting import Waits, as_gpu, trained  # noqa: F401  (fixture)
from test_tiny import roidb, settings  # noqa: F401  (fixtures)

import caffe
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import cfg, cfg_from_list
from fast_rcnn.train import Hook, TrainingStopped, train_net
from fast_rcnn.train_log import TrainLog
from utils.files import read_json_lines

STAGE = "faster_rcnn_alt_opt/stage1_fast_rcnn_solver30k40k.pt"


class StopAfter(Hook):
    """Requests a stop in an iteration, as Ctrl-C does."""

    def __init__(self, iteration):
        self._iteration = iteration

    def after_iteration(self, training):
        if training.iteration == self._iteration:
            os.kill(os.getpid(), signal.SIGINT)


def train(tiny, entries, folder, gallery, **options):   # noqa: F811
    """Train; returns the final model's weights and the records."""
    cfg_from_list(["TRAIN.USE_OHEM", "True", "TRAIN.OHEM_GALLERY", str(gallery), "NUM_WORKERS", "0",
                   "TRAIN.SCALES", "(96, 64)", "TRAIN.SNAPSHOT_ITERS", "4", "TRAIN.RPN_POST_NMS_TOP_N", "100"])
    caffe.set_random_seed(3)
    [*_, final] = train_net(tiny / STAGE, entries, folder, None, 9, log=TrainLog("stage", 9, folder / "logs/s.jsonl"),
                            checkpoints=Checkpoints(folder / "checkpoints", "run"), **options)
    path = folder / "logs" / "hard_rois" / "s.jsonl"
    return Path(final).read_bytes(), read_json_lines(path) if path.exists() else None


@pytest.fixture
def uninterrupted(tiny, roidb, tmp_path):   # noqa: F811
    return train(tiny, roidb, tmp_path / "whole", 6)


def test_records_and_an_unchanged_training(uninterrupted, tiny, roidb, tmp_path):     # noqa: F811
    model, records = uninterrupted
    assert len(records) == 6 and records[-1]["iteration"] == 9
    assert train(tiny, roidb, tmp_path / "without", 0) == (model, None)
    objects = {entry["image"]: entry["boxes"][entry["gt_classes"] > 0] for entry in roidb}
    for record in records:
        assert sum(image["kept"] for image in record["images"]) == sum(record["classes"].values()) == 32
        for roi in record["rois"]:
            assert 0 <= roi["box"][0] <= roi["box"][2] <= 119.5 and 0 <= roi["box"][1] <= roi["box"][3] <= 95.5
            assert (roi["iou"] >= cfg.TRAIN.FG_THRESH - 0.01) == (roi["class"] > 0)
        assert set(objects) == {image["file"] for image in record["images"]}


def test_a_resumed_training_writes_the_same_records(uninterrupted, tiny, roidb, tmp_path):   # noqa: F811
    with pytest.raises(TrainingStopped):
        train(tiny, roidb, tmp_path / "out", 6, hooks=[StopAfter(6)])
    path = tmp_path / "out" / "logs" / "hard_rois" / "s.jsonl"
    with open(path, "a") as file:       # of a run that died later
        file.write('{"iteration": 8}\n{"iterat')
    assert train(tiny, roidb, tmp_path / "out", 6, resume=True) == uninterrupted


def test_recording_does_not_wait_for_a_gpu(roidb, as_gpu, tiny, tmp_path):    # noqa: F811
    waits = Waits(as_gpu)
    with trained(tiny, STAGE, roidb, tmp_path) as wrapper:
        miner = next(layer for layer in wrapper.solver.net.layers if hasattr(layer, "choices"))
        miner.choices = []
        waits.found.clear()
        with waits:
            wrapper.solver.step(2)
        assert not waits.found and [choice.number for choice in miner.choices] == [2, 3]
        assert all(np.isfinite(choice.losses.cpu().numpy()).all() for choice in miner.choices)
