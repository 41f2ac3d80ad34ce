"""The steps of R-FCN's alternating training: an RPN with normalised targets, and R-FCN on its proposals."""
import re

import cv2
import numpy as np
import pytest
import rpn_generate
import test_net
import train_net as train_net_tool
from rfcn_nets import write_rfcn
from stopping import StopIn

import caffe
from checks.nets import check_train_net
from datasets.demo_scenes import CLASSES, make_scene
from datasets.roidb import objects_entry
from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.config import cfg, cfg_from_list, reset_cfg
from fast_rcnn.hooks import TrainingStopped
from fast_rcnn.train import train_net
from utils.errors import CheckError

NUM_CLASSES = 1 + len(CLASSES)
SOLVER = ('train_net: "rpn.pt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 iter_size: 2 '
          'snapshot_prefix: "rpn"')
SETTINGS = """TRAIN.HAS_RPN True TRAIN.BBOX_REG False TRAIN.PROPOSAL_METHOD gt TRAIN.IMS_PER_BATCH 1
    TRAIN.BG_THRESH_LO 0.0 TRAIN.AGNOSTIC True TRAIN.BATCH_SIZE -1 TRAIN.RPN_NORMALIZE_TARGETS True
    TRAIN.SCALES (96,) TEST.SCALES (96,) NUM_WORKERS 0""".split()


@pytest.fixture(autouse=True)
def rpn(tiny, tmp_path, monkeypatch):
    """Writes a solver for Tiny's RPN into the working directory."""
    reset_cfg()
    cfg_from_list(SETTINGS)
    cfg.PIXEL_STDS = np.full((1, 1, 3), 60.0)
    caffe.set_mode_cpu()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, source in (("rpn", "stage1"), ("frozen_rpn", "stage2")):
        text = (tiny / "faster_rcnn_alt_opt" / f"{source}_rpn_train.pt").read_text().partition("# ---- RoI head")[0]
        (tmp_path / f"{name}.pt").write_text(text.replace("'num_classes': 21", f"'num_classes': {NUM_CLASSES}"))
    (tmp_path / "solver.pt").write_text(SOLVER)
    yield
    reset_cfg()


@pytest.fixture
def roidb(tmp_path):
    """The roidb of two demo images."""
    rng, entries = np.random.default_rng(4), []
    for number in range(2):
        image, objects = make_scene(rng)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        labels = [1 + CLASSES.index(item["name"]) for item in objects]
        entries.append({**objects_entry([item["box"] for item in objects], labels),
                        "image": str(tmp_path / f"{number}.png"),
                        "width": image.shape[1], "height": image.shape[0]})
    return entries


def train(roidb, name="out", iterations=4, **options):
    caffe.set_random_seed(cfg.RNG_SEED)
    return train_net("solver.pt", roidb, name, max_iters=iterations, **options)[-1]


def params_of(model=None):
    caffe.set_random_seed(cfg.RNG_SEED)
    weights = {"weights": model} if model else {}
    net = caffe.Net("rpn.pt", caffe.TRAIN, **weights)
    return {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}


def assert_equal(mine, theirs, **tolerance):
    assert list(mine) == list(theirs)
    for name, blobs in mine.items():
        for one, other in zip(blobs, theirs[name], strict=True):
            np.testing.assert_allclose(one, other, **{"rtol": 0, "atol": 0, **tolerance}, err_msg=name)


def test_snapshots_predict_unnormalised_targets_and_are_normalised_again(roidb):
    assert check_train_net("rpn.pt", cfg.TRAIN, NUM_CLASSES) == []
    cfg_from_list(["TRAIN.RPN_NORMALIZE_MEANS", "(0.5, 0, -0.5, 0)", "TRAIN.RPN_NORMALIZE_STDS", "(2, 3, 4, 5)"])
    first, plain = params_of(), params_of(train(roidb, iterations=0))
    anchors = len(first["rpn_bbox_pred"][1]) // 4
    stds, means = np.tile([2, 3, 4, 5], anchors), np.tile([0.5, 0, -0.5, 0], anchors)
    weights, bias = first["rpn_bbox_pred"]
    first["rpn_bbox_pred"] = [weights * stds[:, None, None, None], bias * stds + means]
    assert_equal(plain, first, rtol=1e-6)
    again = params_of(train(roidb, "again", iterations=0, pretrained_model="out/rpn_iter_0.caffemodel"))
    assert_equal(again, plain, rtol=1e-5, atol=1e-7)


def test_normalised_targets_are_learned_and_a_run_resumes_exactly(roidb, capsys):
    straight = params_of(train(roidb, "straight"))
    text = capsys.readouterr().out
    assert "RPN box targets (dx, dy, dw, dh) are normalised: means [" in text
    checkpoints = Checkpoints("checkpoints", "run")
    with pytest.raises(TrainingStopped, match="after iteration 2"):
        train(roidb, "stopped", checkpoints=checkpoints, hooks=[StopIn(2)])
    assert_equal(params_of(train(roidb, "stopped", checkpoints=checkpoints, resume=True)), straight)
    cfg_from_list(["TRAIN.RPN_NORMALIZE_TARGETS", "False"])
    other = params_of(train(roidb, "plain"))
    assert not np.allclose(other["rpn_bbox_pred"][0], straight["rpn_bbox_pred"][0], rtol=0.1)


def test_a_custom_layer_must_be_able_to_normalise(roidb, tmp_path):
    text = (tmp_path / "rpn.pt").read_text()
    (tmp_path / "mine.py").write_text("from rpn.anchor_target_layer import AnchorTargetLayer\n\n\n"
                                      "class Mine(AnchorTargetLayer):\n    normalize_targets = property()\n")
    (tmp_path / "rpn.pt").write_text(text.replace('"rpn.anchor_target_layer"', '"mine"').replace(
        '"AnchorTargetLayer"', '"Mine"'))
    with pytest.raises(CheckError, match="rpn.pt: TRAIN.RPN_NORMALIZE_TARGETS is True, but no layer has a method"):
        train(roidb, iterations=0)


# ---- all steps, by the commands of docs/published_nets.md
RPN = "TRAIN.HAS_RPN True TRAIN.BBOX_REG False TRAIN.PROPOSAL_METHOD gt TRAIN.IMS_PER_BATCH 1".split()
RFCN = "TRAIN.PROPOSAL_METHOD rpn TRAIN.IMS_PER_BATCH 1".split()
FILE = """
TRAIN: {BG_THRESH_LO: 0.0, AGNOSTIC: True, BATCH_SIZE: -1, RPN_NORMALIZE_TARGETS: True, SCALES: [96], SNAPSHOT_ITERS: 9}
TEST: {PROPOSAL_METHOD: rpn, HAS_RPN: False, SCALES: [96], RPN_MIN_SIZE: 6}
PIXEL_STDS: 60
NUM_WORKERS: 0
"""


@pytest.fixture
def run(capsys):
    """Runs a tool in this process; returns the last path that it prints."""
    def call(tool, *words):
        reset_cfg()
        status = tool.main(["--cfg", "settings.yml", "--cpu", *map(str, words)])
        text = "".join(capsys.readouterr())
        assert status == 0, text
        return re.findall(r"^(?:Final model|Proposals|Results): (.*)$", text, re.M)[-1]
    return call


def test_the_five_steps(demo_data, tiny, tmp_path, run):
    write_rfcn(tmp_path, tiny, NUM_CLASSES, apart=True)
    (tmp_path / "train.pt").rename(tmp_path / "rfcn.pt")
    (tmp_path / "settings.yml").write_text(FILE)
    for name in ("rpn", "frozen_rpn", "rfcn"):
        (tmp_path / f"{name}_solver.pt").write_text(SOLVER.replace('"rpn', f'"{name}').replace("iter_size: 2", ""))

    def train(name, step, weights, settings, *words):
        return run(train_net_tool, "--solver", f"{name}_solver.pt", "--imdb", f"{demo_data}:trainval", "--iters", 1,
                   "--weights", weights, "--output", f"{step}_{name}", *words, "--set", *settings)

    def generate(model, split):
        return run(rpn_generate, "--def", tiny / "faster_rcnn_alt_opt" / "rpn_test.pt", "--net", model, "--imdb",
                   f"{demo_data}:{split}", "--output", f"{model}.{split}.npz", "--set", "TEST.RPN_PRE_NMS_TOP_N", 600,
                   "TEST.RPN_POST_NMS_TOP_N", 30)

    first_rpn = train("rpn", "stage1", "none", RPN)
    first = train("rfcn", "stage1", "none", RFCN, "--proposals", generate(first_rpn, "trainval"))
    second_rpn = train("rpn", "stage2", first, RPN)
    second = train("rfcn", "stage2", "none", RFCN, "--proposals", generate(second_rpn, "trainval"))
    third_rpn = train("frozen_rpn", "stage3", second, RPN)
    shared = [caffe.Net("frozen_rpn.pt", caffe.TRAIN, weights=model).params["conv5_2"][0].data
              for model in (third_rpn, second)]
    np.testing.assert_array_equal(*shared)
    results = run(test_net, "--def", "test.pt", "--net", second, "--imdb", f"{demo_data}:test", "--proposals",
                  generate(third_rpn, "test"), "--num_dets", 400, "--output", "results")
    assert (tmp_path / results / "evaluation.json").is_file()
