"""A custom mining rule: the example of docs/mining_rule.md passes the checks, trains and resumes exactly."""
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from test_tiny import roidb, settings  # noqa: F401  (fixtures)

import caffe
from checks.nets import check_train_net
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import cfg, cfg_from_list
from fast_rcnn.train import TrainingStopped, train_net
from roi_data_layer.layer import HardRoIMiner
from roi_data_layer.ohem import roi_losses, select_hard_examples

ROOT = Path(__file__).resolve().parents[2]
STAGE = ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt" / "stage1_fast_rcnn_train.pt"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the document's module, net and solver."""
    module, prototxt, *_ = re.findall(r"```(?:python)?\n(.*?)```", (ROOT / "docs" / "mining_rule.md").read_text(), re.S)
    (tmp_path / "my_rules.py").write_text(module)
    text, times = re.subn(r'  python_param \{\s+module: "roi_data_layer.layer"\s+layer: "OHEMDataLayer".*?\n  \}\n',
                          lambda _: prototxt, STAGE.read_text(), flags=re.S)
    assert times == 1 and "HardAndRandom" in text
    (tmp_path / "net.pt").write_text(text)
    (tmp_path / "solver.pt").write_text('train_net: "net.pt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9\n'
                                        'iter_size: 2 snapshot_prefix: "small"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    cfg_from_list(["TRAIN.USE_OHEM", "True", "NUM_WORKERS", "0"])
    yield tmp_path
    sys.modules.pop("my_rules", None)


def train(folder, name, roidb, iterations, **options):      # noqa: F811
    caffe.set_random_seed(cfg.RNG_SEED)
    return train_net("solver.pt", roidb, folder / name, max_iters=iterations, **options)


def weights(path):
    return [blob.data.copy() for blob in caffe.Net("net.pt", caffe.TRAIN, weights=str(path)).params["fc6"]]


def test_the_example_passes_the_checks(folder):
    assert check_train_net("net.pt", cfg.TRAIN, 21) == []
    cfg.TRAIN.USE_OHEM = False
    assert "hard_roi_mining': mines hard examples, but TRAIN.USE_OHEM is False" in check_train_net(
        "net.pt", cfg.TRAIN, 21)[0]


def test_the_example_selects_hard_and_random_rois(folder, roidb):       # noqa: F811
    net = caffe.Net("net.pt", caffe.TRAIN)
    net.layers[0].set_roidb(roidb)
    net.forward()
    [miner] = [layer for layer in net.layers if isinstance(layer, HardRoIMiner)]
    names = ("cls_prob_readonly", "labels", "bbox_pred_readonly", "bbox_targets", "bbox_inside_weights",
             "bbox_outside_weights")
    losses = roi_losses(*(net.blobs[name].data for name in names))
    hardest = select_hard_examples(losses, 24)
    chosen, rois = net.blobs["rois_hard"].data.copy(), net.blobs["rois"].data
    np.testing.assert_array_equal(chosen[:24], rois[hardest])
    assert len(chosen) == 32 < len(rois)
    assert miner.stats["all RoIs"] == pytest.approx(losses.mean()) and miner.stats["hard"] > miner.stats["all RoIs"]
    net.layers[0].seek(0)
    net.forward()
    assert np.any(net.blobs["rois_hard"].data[24:] != chosen[24:])      # another pass, other numbers
    for layer in (net.layers[0], miner):
        layer.seek(0)
    net.forward()
    np.testing.assert_array_equal(net.blobs["rois_hard"].data, chosen)


def test_the_example_trains_and_resumes_exactly(folder, roidb, monkeypatch):    # noqa: F811
    forward, passes = HardRoIMiner.forward, []
    straight = weights(train(folder, "straight", roidb, 4)[-1])
    checkpoints = Checkpoints(folder / "checkpoints", "run")

    def stopping(layer, bottom, top):
        forward(layer, bottom, top)
        passes.append(1)
        if len(passes) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(HardRoIMiner, "forward", stopping)
    with pytest.raises(TrainingStopped, match="after iteration 2"):
        train(folder, "stopped", roidb, 4, checkpoints=checkpoints)
    paths = train(folder, "stopped", roidb, 4, checkpoints=checkpoints, resume=True)
    for got, wanted in zip(weights(paths[-1]), straight, strict=True):
        np.testing.assert_array_equal(got, wanted)
