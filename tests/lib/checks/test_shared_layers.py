"""Anchors and layers that the nets of a run share are compared by value."""
import re
from pathlib import Path

import pytest

from checks.nets import check_train_net
from checks.shared import check_shared
from fast_rcnn.config import Config, make_settings
from net_definitions import NETS, model_files

MODELS = Path(__file__).resolve().parents[3] / "models"
TRAIN = make_settings().TRAIN
FAST_RCNN = Config(TRAIN, HAS_RPN=False, BBOX_REG=True, USE_OHEM=True)
END2END = Config(TRAIN, HAS_RPN=True, BBOX_REG=True, USE_OHEM=False)


def nets(net, method="faster_rcnn_alt_opt"):
    """The training nets and the test nets."""
    return tuple(sorted((MODELS / net / method).glob(f"*{kind}.pt")) for kind in ("train", "test"))


@pytest.mark.parametrize("net", NETS)
def test_the_shipped_nets_agree(net):
    assert check_shared(*nets(net)) == []
    assert check_shared(*nets(net, "faster_rcnn_end2end")) == []


@pytest.fixture
def edited(tmp_path):
    """Problems after replacing a text in one test net of VGG16."""
    def check(old, new, name="faster_rcnn_test.pt", net="VGG16"):
        train, test = nets(net)
        (path,) = [path for path in test if path.name == name]
        text = path.read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new, 1))
        return check_shared(train, [tmp_path / name])
    return check


@pytest.mark.parametrize("name", ["faster_rcnn_test.pt", "rpn_test.pt"])
def test_equally_many_but_different_anchors(edited, name):
    (problem,) = edited("'feat_stride': 16", r"'feat_stride': 16\n'scales': [4, 8, 16]", name)
    assert "layer 'proposal': feat_stride, scales and ratios are (16, (4, 8, 16), (0.5, 1, 2))" in problem
    assert "of layer 'rpn-data'" in problem and "(16, (8, 16, 32), (0.5, 1, 2)): all nets of a run" in problem
    (problem,) = edited("'feat_stride': 16", r"'feat_stride': 16\n'ratios': [2, 1, 0.5]", name)
    assert "(2, 1, 0.5)" in problem
    assert edited("'feat_stride': 16", r"'feat_stride': 16\n'scales': [8.0, 16, 32]", name) == []


@pytest.mark.parametrize("old, new, found", [
    ("pad: 1", "pad: 0", "layer 'conv1_1': pad is (0, 0), in "),
    ("pad: 1", "pad_h: 1 pad_w: 2", "layer 'conv1_1': pad is (1, 2), in "),
    ("stride: 2", "stride: 3", "layer 'pool1': stride is (3, 3), in "),
    ("pool: MAX", "pool: AVE", "layer 'pool1': pool is 1, in "),
    ('type: "ReLU" bottom: "conv1_1"', 'type: "ELU" bottom: "conv1_1"', "layer 'relu1_1': type is ELU, in "),
    ("pooled_w: 7", "pooled_w: 6", "layer 'roi_pool5': pooled_w is 6, in "),
])
def test_layers_with_different_settings(edited, old, new, found):
    problems = edited(old, new)
    assert len(problems) == 1 and found in problems[0] and "all nets of a run must agree" in problems[0], problems


@pytest.mark.parametrize("old, new", [
    ("pad: 1", "pad: 1 pad: 1"), ("kernel_size: 3", "kernel_h: 3 kernel_w: 3"),
    ("kernel_size: 3", "kernel_size: 3 stride: 1"),
    ("kernel_size: 3", 'kernel_size: 3 weight_filler { type: "msra" }'), ("dropout_ratio: 0.5", "dropout_ratio: 0.4"),
    ('type: "ReLU"', 'type: "ReLU" relu_param { negative_slope: 0 }')])
def test_settings_that_may_differ(edited, old, new):
    assert edited(old, new) == []


def test_scores_of_a_layer_of_another_name(tmp_path):
    """The number of classes is determined from what the outputs are compared with."""
    for text, settings in [(model_files("Tiny", 3)["Tiny/faster_rcnn_alt_opt/stage1_fast_rcnn_train.pt"], FAST_RCNN),
                           (model_files("Tiny", 3)["Tiny/faster_rcnn_end2end/train.pt"], END2END)]:
        path = tmp_path / "net.pt"
        renamed = text.replace('name: "cls_score"', 'name: "marks"').replace('name: "cls_score_', 'name: "m_')
        path.write_text(renamed.replace("'num_classes': 3", "'num_classes': 4"))
        problems = [problem for problem in check_train_net(path, settings, 4) if "'marks'" in problem]
        assert len(problems) == 1 and "num_output is 3, expected 4: the data set has 4 classes" in problems[0]


def test_normalised_boxes_need_a_layer_that_snapshots_find(tmp_path):
    path = tmp_path / "net.pt"
    path.write_text(model_files("Tiny", 3)["Tiny/faster_rcnn_end2end/train.pt"].replace('name: "bbox_pred"',
                                                                                       'name: "deltas"'))
    (problem,) = check_train_net(path, END2END, 3)
    assert "has no layer 'bbox_pred'" in problem and "set TRAIN.BBOX_NORMALIZE_TARGETS to False" in problem
    assert check_train_net(path, Config(END2END, BBOX_NORMALIZE_TARGETS=False), 3) == []
    assert check_train_net(path, Config(END2END, BBOX_REG=False), 3) == []


def test_normalised_boxes_need_a_bias(tmp_path):
    """It takes the mean of the targets when weights are saved for plain ones."""
    path, files = tmp_path / "net.pt", model_files("Tiny", 3)
    for name, settings in [("faster_rcnn_alt_opt/stage1_fast_rcnn_train.pt", FAST_RCNN),
                           ("faster_rcnn_end2end/train.pt", END2END)]:
        path.write_text(re.sub(r"num_output: 12\b", r"\g<0> bias_term: false", files[f"Tiny/{name}"]))
        (problem,) = check_train_net(path, settings, 3)
        assert "'bbox_pred': needs its bias (bias_term: true) with TRAIN.BBOX_NORMALIZE_TARGETS: it takes" in problem
        assert check_train_net(path, Config(settings, BBOX_NORMALIZE_TARGETS=False), 3) == []
