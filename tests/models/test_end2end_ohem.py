"""End-to-end training of Tiny with hard example mining: selected RoIs, gradients, and resuming around the warm-up."""
from pathlib import Path

import numpy as np
import pytest
from stopping import StopIn
from test_tiny import HEAD, RPN, TRUNK, learned, roidb, settings  # noqa: F401  (fixtures)

import caffe
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import cfg, cfg_from_file, cfg_from_list, reset_cfg
from fast_rcnn.hooks import TrainingStopped
from fast_rcnn.train import train_net
from roi_data_layer import layer as layers

ROOT = Path(__file__).resolve().parents[2]
ROIS = ("rois", "labels", "bbox_targets", "bbox_inside_weights", "bbox_outside_weights")
LOSSES = ("rpn_cls_loss", "rpn_loss_bbox", "loss_cls", "loss_bbox")


@pytest.fixture(autouse=True)
def mining(settings):       # noqa: F811
    """experiments/cfgs/tiny_end2end_ohem.yml with smaller images."""
    reset_cfg()
    cfg_from_file(ROOT / "experiments" / "cfgs" / "tiny_end2end_ohem.yml")
    cfg_from_list(["TRAIN.SCALES", "(96,)", "TRAIN.BATCH_SIZE", "24", "NUM_WORKERS", "0"])


def made(file, roidb):      # noqa: F811
    caffe.set_random_seed(3)
    net = caffe.Net(str(file), caffe.TRAIN)
    net.layers[0].set_roidb(roidb)
    rng = np.random.default_rng(8)
    for name in HEAD:       # far from its initial values, where many losses are equal
        net.params[name][0].data[...] *= rng.uniform(0.5, 40, net.params[name][0].data.shape)
    net.clear_param_diffs()
    return net


def hardest(net, count):
    """Rows with the highest losses: cross entropy plus smooth L1 for foreground, computed by definition, RoI by RoI."""
    prob, pred = (net.blobs[f"{name}_readonly"].data.astype(np.float64) for name in ("cls_prob", "bbox_pred"))
    _, labels, target, inside, outside = (net.blobs[name].data for name in ROIS)
    losses = []
    for row, label in enumerate(labels.astype(int)):
        error = np.abs(inside[row] * (pred[row] - target[row]))
        box = np.sum(outside[row] * np.where(error < 1, error ** 2 / 2, error - 0.5))
        losses.append(-np.log(max(prob[row, label], np.finfo(float).eps)) + (box if label else 0))
    return sorted(range(len(labels)), key=lambda row: -losses[row])[:count]


@pytest.mark.parametrize("images", [1, 2])
def test_the_hardest_of_all_rois_train_the_head(images, roidb, tiny):       # noqa: F811
    cfg_from_list(["TRAIN.IMS_PER_BATCH", str(images)])
    net = made(tiny / "faster_rcnn_end2end_ohem/train.pt", roidb)
    net.forward()
    rois, proposals, gt_boxes = (net.blobs[name].data for name in ("rois", "rpn_rois", "gt_boxes"))
    assert len(rois) == len(proposals) + len(gt_boxes) > 24
    assert set(map(tuple, proposals)) < set(map(tuple, rois))
    rows = hardest(net, 24)
    assert (net.blobs["labels"].data[rows] > 0).any() and len(set(rows)) == 24
    for name in ROIS:
        np.testing.assert_array_equal(net.blobs[f"{name}_hard"].data, net.blobs[name].data[rows], name)


def test_gradients_equal_those_of_a_net_with_the_hard_rois_as_input(roidb, tiny):     # noqa: F811
    """The readonly head gets no gradients, and the RPN's are the same as without mining."""
    net = made(tiny / "faster_rcnn_end2end_ohem/train.pt", roidb)
    net.forward()
    net.backward()
    assert [name for name in learned(net) if not name.endswith("_readonly")] == TRUNK + RPN + HEAD
    readonly = [name for name in net.blobs if name.endswith("_readonly")]
    assert readonly and not any(np.any(net.blobs[name].diff) for name in [*readonly, *ROIS, "rpn_rois"])

    cfg.TRAIN.USE_OHEM = False
    plain = made(tiny / "faster_rcnn_end2end/train.pt", roidb)
    names = list(plain._layer_names)
    plain.forward(end="roi-data")
    for name in ROIS:
        plain.blobs[name].reshape(*net.blobs[f"{name}_hard"].shape)
        plain.blobs[name].data[...] = net.blobs[f"{name}_hard"].data
    plain.forward(start=names[names.index("roi-data") + 1])
    plain.backward()
    for name in LOSSES:
        np.testing.assert_array_equal(net.blobs[name].data, plain.blobs[name].data, name)
    for name, blobs in plain.params.items():
        for mine, theirs in zip(net.params[name], blobs, strict=True):
            np.testing.assert_array_equal(mine.diff, theirs.diff, name)


@pytest.fixture
def train(roidb, tiny, tmp_path, monkeypatch):      # noqa: F811
    """Trains for six iterations of two passes each, three of them warm-up; returns the final weights."""
    (tmp_path / "net.pt").write_text((tiny / "faster_rcnn_end2end_ohem/train.pt").read_text())
    (tmp_path / "solver.pt").write_text('train_net: "net.pt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9\n'
                                        'iter_size: 2 snapshot_prefix: "small"')
    monkeypatch.chdir(tmp_path)
    cfg.TRAIN.OHEM_WARMUP = 3

    def run(name, **options):
        caffe.set_random_seed(cfg.RNG_SEED)
        path = train_net("solver.pt", roidb, name, max_iters=6, **options)[-1]
        net = caffe.Net("net.pt", caffe.TRAIN, weights=path)
        return [blob.data.copy() for blobs in net.params.values() for blob in blobs]
    return run


@pytest.mark.parametrize("stop, share", [(2, 0.0), (3, 0.0), (4, 0.25)])
@pytest.mark.slow
def test_a_run_resumes_exactly_around_the_end_of_the_warmup(stop, share, train, monkeypatch):
    cfg.TRAIN.OHEM_RANDOM_SHARE = share
    counts = []
    add = layers.add_random_rois
    monkeypatch.setattr(layers, "add_random_rois", lambda *given: counts.append(given[2]) or add(*given))
    straight = train("straight")
    assert counts == [24] * 6 + [6] * (6 if share else 0)
    checkpoints = Checkpoints("checkpoints", "run")
    with pytest.raises(TrainingStopped, match=f"after iteration {stop}"):
        train("stopped", checkpoints=checkpoints, hooks=[StopIn(stop)])
    for mine, theirs in zip(train("stopped", checkpoints=checkpoints, resume=True), straight, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert counts[len(counts) // 2:] == counts[:len(counts) // 2]
    cfg.TRAIN.OHEM_WARMUP = 0
    assert any(np.any(mine != theirs) for mine, theirs in zip(train("mined"), straight, strict=True))
