"""Prototxts against settings and data set: every kind of error is found and located."""
import re
from pathlib import Path

import pytest

from checks.net_file import NetFile
from checks.nets import check_frozen, check_test_net, check_train_net, inherited_layers
from fast_rcnn.config import Config, make_settings
from net_definitions import model_files
from utils.errors import CheckError, raise_all
from utils.layer_params import anchor_layout, parse_param_str

MODELS = Path(__file__).resolve().parents[3] / "models"
TRAIN = make_settings().TRAIN
KINDS = {
    "stage1_rpn_train.pt": Config(TRAIN, HAS_RPN=True, BBOX_REG=False, USE_OHEM=False),
    "stage2_rpn_train.pt": Config(TRAIN, HAS_RPN=True, BBOX_REG=False, USE_OHEM=False),
    "stage1_fast_rcnn_train.pt": Config(TRAIN, HAS_RPN=False, BBOX_REG=True, USE_OHEM=True),
    "stage2_fast_rcnn_train.pt": Config(TRAIN, HAS_RPN=False, BBOX_REG=True, USE_OHEM=True),
}
END2END = Config(TRAIN, HAS_RPN=True, BBOX_REG=True, USE_OHEM=False)
END2END_OHEM = Config(TRAIN, HAS_RPN=True, BBOX_REG=True, USE_OHEM=True)


def alt_opt(name, net="Tiny"):
    return MODELS / net / "faster_rcnn_alt_opt" / name


def with_classes_of_a_user(text):
    """A prototxt whose Python layers have other names, classes and modules, which then carry no information."""
    text = re.sub(r'name: "[^"]+"(\s+type: "Python")', lambda match: f'name: "mine{match.start()}"{match[1]}', text)
    return re.sub(r'module: "[^"]+"(\s+)layer: "[^"]+"', r'module: "my.layers"\1layer: "Mine"', text)


@pytest.fixture(params=["ours", "a user's"])
def classes(request):
    """Whether Python layers of `edited` nets have our classes or a user's."""
    return request.param


@pytest.mark.parametrize("net", ["VGG16", "VGG_CNN_M_1024", "ZF", "Tiny"])
def test_the_shipped_nets_have_no_problem(net):
    for name, train in KINDS.items():
        path = alt_opt(name, net)
        assert check_train_net(path, train, 21, 9) == []
        assert check_frozen(path, "rpn" if "rpn_train" in name else "fast_rcnn", int(name[5])) == []
    for name in ("rpn_test.pt", "faster_rcnn_test.pt"):
        assert check_test_net(alt_opt(name, net), 21, 9) == []
    end2end = MODELS / net / "faster_rcnn_end2end"
    assert check_train_net(end2end / "train.pt", END2END, 21) == []
    assert check_test_net(end2end / "test.pt", 21) == []
    assert check_train_net(MODELS / net / "faster_rcnn_end2end_ohem" / "train.pt", END2END_OHEM, 21) == []
    assert check_test_net(MODELS / net / "faster_rcnn_end2end_ohem" / "test.pt", 21) == []


def test_class_agnostic_boxes(tmp_path):
    path, shared = tmp_path / "train.pt", Config({**END2END, "AGNOSTIC": True})
    text = (MODELS / "Tiny" / "faster_rcnn_end2end" / "train.pt").read_text()
    path.write_text(text)
    (problem,) = check_train_net(path, shared, 21)
    assert "layer 'bbox_pred': num_output is 84, expected 8" in problem
    path.write_text(text.replace("num_output: 84", "num_output: 8"))
    assert check_train_net(path, shared, 21) == []
    (problem,) = check_train_net(path, END2END, 21)
    assert "num_output is 8, expected 84" in problem and problem.endswith("set TRAIN.AGNOSTIC to True")
    test = (MODELS / "Tiny" / "faster_rcnn_end2end" / "test.pt").read_text()
    path.write_text(test.replace("num_output: 84", "num_output: 8"))
    assert check_test_net(path, 21) == []


def test_strides_and_anchors_are_read_from_the_net():
    net = NetFile(alt_opt("stage1_rpn_train.pt", "VGG16"))
    assert net.num_anchors() == 9
    assert net.stride("conv5_3") == 16 and net.stride("conv1_1") == 1 and net.stride("gt_boxes") is None
    assert NetFile(alt_opt("stage1_fast_rcnn_train.pt")).num_anchors() is None


@pytest.mark.parametrize("inserted, stride", [
    ('type: "DepthwiseConvolution" convolution_param { num_output: 3 kernel_size: 3 stride: 2 }', 32),
    ('type: "ConvolutionDepthwise" convolution_param { num_output: 3 kernel_size: 3 stride_h: 2 stride_w: 2 }', 32),
    ('type: "Deconvolution" convolution_param { num_output: 3 kernel_size: 4 stride: 2 }', 8),
    ('type: "Upsample" upsample_param { scale: 2 }', None), ('type: "PReLU"', 16)])
def test_strides_of_other_layers(tmp_path, inserted, stride):
    text = alt_opt("rpn_test.pt").read_text().replace('bottom: "conv5_2"\n', 'bottom: "mine"\n')
    path = tmp_path / "net.pt"
    path.write_text(f'{text}layer {{ name: "mine" bottom: "conv5_2" top: "mine" {inserted} }}\n')
    assert NetFile(path).stride("rpn_cls_prob_reshape") == stride
    problems = [problem for problem in check_test_net(path, 21) if "feat_stride" in problem]
    assert len(problems) == (stride not in (None, 16))
    assert all(f"feat_stride is 16, but a cell is {stride} pixels wide" in problem for problem in problems)


def test_layers_in_a_loop_have_no_stride(tmp_path):
    (tmp_path / "net.pt").write_text("layer { name: 'a' type: 'ReLU' bottom: 'y' top: 'x' }\n"
                                     "layer { name: 'b' type: 'ReLU' bottom: 'x' top: 'y' }")
    assert NetFile(tmp_path / "net.pt").stride("x") is None


@pytest.mark.parametrize("net", ["VGG16", "VGG_CNN_M_1024", "ZF", "Tiny"])
def test_classes_of_a_user_have_no_problem(tmp_path, net):
    def copied(path):
        copy = tmp_path / path.name
        copy.write_text(with_classes_of_a_user(path.read_text()))
        return copy

    for name, train in KINDS.items():
        assert check_train_net(copied(alt_opt(name, net)), train, 21, 9) == []
        assert NetFile(copied(alt_opt(name, net))).num_anchors() == NetFile(alt_opt(name, net)).num_anchors()
    for name in ("rpn_test.pt", "faster_rcnn_test.pt"):
        assert check_test_net(copied(alt_opt(name, net)), 21, 9) == []
    end2end = MODELS / net / "faster_rcnn_end2end"
    assert check_train_net(copied(end2end / "train.pt"), END2END, 21) == []
    assert check_test_net(copied(end2end / "test.pt"), 21) == []
    assert check_train_net(copied(MODELS / net / "faster_rcnn_end2end_ohem" / "train.pt"), END2END_OHEM, 21) == []
    (problem,) = check_test_net(copied(end2end / "train.pt"), 21)
    assert "this net is for training" in problem


LAYERS = {      # layers of a net by role
    "stage1_rpn_train.pt": {"data": ["input-data"], "anchor_target": ["rpn-data"]},
    "stage1_fast_rcnn_train.pt": {"data": ["data"], "mining": ["hard_roi_mining"]},
    "rpn_test.pt": {"proposal": ["proposal"]},
    "faster_rcnn_test.pt": {"proposal": ["proposal"]},
    "../faster_rcnn_end2end/train.pt": {"data": ["input-data"], "anchor_target": ["rpn-data"],
                                        "proposal": ["proposal"]},
    "../faster_rcnn_end2end_ohem/train.pt": {"data": ["input-data"], "anchor_target": ["rpn-data"],
                                             "proposal": ["proposal"], "mining": ["hard_roi_mining"]},
}


@pytest.mark.parametrize("name", LAYERS)
def test_roles_of_layers(name):
    check_layers(alt_opt(name), LAYERS[name])


def test_nothing_mines_in_a_net_without_mining(tmp_path):
    path = tmp_path / "train.pt"
    path.write_text(model_files("Tiny")["Tiny/faster_rcnn_alt_opt_no_ohem/stage1_fast_rcnn_train.pt"])
    check_layers(path, {"data": ["data"]})


def test_proposals_of_a_layer_of_caffe(tmp_path):
    """As PVANET's: its role follows from its bottoms and from the readers of its top. Scores are not proposals."""
    path, text = tmp_path / "test.pt", alt_opt("faster_rcnn_test.pt").read_text()
    native = re.sub(r'python_param \{[^{}]*ProposalLayer[^{}]*\}', "proposal_param { ratio: 1 scale: 4 }", text)
    path.write_text(native.replace('type: "Python"', 'type: "Proposal"'))
    check_layers(path, {"proposal": ["proposal"]})
    path.write_text(path.read_text().replace('bottom: "im_info"', 'bottom: "other"'))
    check_layers(path, {})


def check_layers(path, expected):
    net = NetFile(path)
    for kind in ("data", "mining", "anchor_target", "proposal"):
        assert [layer.name for layer in getattr(net, f"{kind}_layers")()] == expected.get(kind, []), kind


SOURCE = 'layer { name: "fed" type: "Python" %s python_param { module: "my" layer: "Mine" param_str: "%s" } }\n'
CLASSES = "'num_classes': 3"
HEAD = """layer { name: "pool%(n)s" type: "ROIAlign" bottom: "data" bottom: "%(rois)s" top: "pool%(n)s" }
layer { name: "score%(n)s" type: "InnerProduct" bottom: "pool%(n)s" top: "score%(n)s" }
"""
FED = SOURCE % ('top: "data" top: "rois" top: "classes"', CLASSES) + HEAD % {"n": 1, "rois": "rois"}
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "%s" bottom: "%s" top: "loss" }\n'
PYTHON = ('layer { name: "%s" type: "Python" %s python_param { module: "my" layer: "Mine" param_str: "' + CLASSES
          + '" } }\n')
SECOND = HEAD % {"n": 2, "rois": "chosen"}


@pytest.mark.parametrize("text, mining", [
    (FED + PYTHON % ("mine", 'bottom: "score1" bottom: "rois" bottom: "classes" top: "chosen" top: "theirs"') + SECOND
     + LOSS % ("score2", "theirs"), ["mine"]),
    # one head: its training examples are selected by labels
    (FED + PYTHON % ("mine", 'bottom: "rois" bottom: "score1" bottom: "classes" top: "theirs"')
     + LOSS % ("score1", "theirs"), ["mine"]),
    # another layer moves RoIs between the miner and the second head
    (FED + PYTHON % ("mine", 'bottom: "score1" bottom: "rois" bottom: "classes" top: "rois2" top: "theirs"')
     + PYTHON % ("move", 'bottom: "rois2" bottom: "theirs" top: "chosen"') + SECOND + LOSS % ("score2", "theirs"),
     ["mine"]),
    # a second head on boxes regressed by the first; a custom loss, and a custom picture
    (FED + PYTHON % ("refine", 'bottom: "score1" bottom: "rois" top: "chosen"') + SECOND, []),
    (FED + PYTHON % ("loss", 'bottom: "score1" bottom: "rois" bottom: "classes" top: "loss"'), []),
    (FED + PYTHON % ("draw", 'bottom: "data" bottom: "rois" bottom: "classes"'), []),
])
def test_which_layers_mine(tmp_path, text, mining):
    (tmp_path / "net.pt").write_text(text)
    net = NetFile(tmp_path / "net.pt")
    assert [layer.name for layer in net.mining_layers()] == mining and net.param_problems == []


@pytest.mark.parametrize("tops, problem", [
    ("picture of_it boxes", None), ("data im_info gt_boxes scene", None),
    ("data im_info gt_boxes labels", "its tops are data, im_info, gt_boxes, labels; expected data, im_info, gt_boxes, "
                                     "as TRAIN.HAS_RPN is True"),
    ("data gt_boxes im_info", "its tops are data, gt_boxes, im_info"), ("data im_info", "its tops are data, im_info"),
])
def test_tops_of_a_data_layer_of_a_user(tmp_path, tops, problem):
    (tmp_path / "net.pt").write_text(SOURCE % (" ".join(f'top: "{top}"' for top in tops.split()), CLASSES))
    problems = check_train_net(tmp_path / "net.pt", END2END, 3)
    assert problems == [] if problem is None else problem in problems[0]


def test_a_net_without_a_data_layer(tmp_path):
    (tmp_path / "net.pt").write_text('layer { name: "in" type: "Input" top: "data" }\n'
                                     + SOURCE % ('top: "constants"', ""))
    (problem,) = check_train_net(tmp_path / "net.pt", END2END, 3)
    assert "net.pt: has no Python layer without bottoms that feeds images and boxes" in problem
    assert check_test_net(tmp_path / "net.pt", 3) == []


def test_layers_of_the_other_phase_do_not_count(tmp_path):
    path = tmp_path / "net.pt"
    text = SOURCE % ('include { phase: TRAIN } top: "data" top: "im_info" top: "gt_boxes"', CLASSES)
    path.write_text(text + 'layer { name: "in" type: "Input" top: "data" exclude { phase: TRAIN } }')
    assert check_train_net(path, END2END, 3) == check_test_net(path, 3) == []
    assert "classes" in check_train_net(path, END2END, 4)[0] and check_test_net(path, 4) == []


def edited(tmp_path, name, pattern, replacement, count=1, classes="ours"):
    """A copy of a Tiny net with one change, which must apply."""
    text = alt_opt(name).read_text()
    changed, times = re.subn(pattern, replacement, text, count=count, flags=re.S)
    assert times
    path = tmp_path / Path(name).name
    path.write_text(changed if classes == "ours" else with_classes_of_a_user(changed))
    return path


def found_in(message, classes):
    """The message; with a user's classes it has the user's name of the layer."""
    return message if classes == "ours" else re.sub(
        "'(input-data|hard_roi_mining|proposal|rpn-data)'|.(input-data).", r"'mine\\d+'", message)


def layer(name, inside):
    """Pattern of a position inside a layer's block."""
    return rf'(name: "{name}".*?){inside}'


PARAM_STR_MISTAKES = [
    # file, layer, its entry, the wrong one, part of the message
    ("stage1_rpn_train.pt", "input-data", "'num_classes': 21", "'num_class': 4", "needs 'num_classes', it has num_c"),
    ("stage1_rpn_train.pt", "input-data", "'num_classes': 21", "'num_classes': few", "is 'few', expected a whole"),
    ("stage1_fast_rcnn_train.pt", "hard_roi_mining", "'num_classes': 21", "'num_classes': 1", "is 1, expected a whole"),
    ("rpn_test.pt", "proposal", "'feat_stride': 16", "'feat_stride': [16", "is not YAML: "),
    ("rpn_test.pt", "proposal", "'feat_stride': 16", "'feat_stride': wide", "is 'wide', expected a number above 0"),
    ("rpn_test.pt", "proposal", "'scales': .2, 4, 8.", "'scales': abc", "is 'abc', expected a list of numbers"),
    ("rpn_test.pt", "proposal", "'scales': .2, 4, 8.", "'scales': 8", "is 8, expected a list of numbers"),
    ("rpn_test.pt", "proposal", "'scales': .2, 4, 8.", "'ratios': [0, 1]", "is .0, 1., expected a list of numbers"),
    ("stage1_rpn_train.pt", "rpn-data", "'scales': .2, 4, 8.", "'allowed_border': wide", "is 'wide', expected a numb"),
    ("rpn_test.pt", "proposal", "'feat_stride': 16.*8.", "16", "must be entries such as"),
]


@pytest.mark.parametrize("name, where, entry, wrong, message", PARAM_STR_MISTAKES)
def test_a_wrong_param_str_is_the_only_problem(tmp_path, name, where, entry, wrong, message, classes):
    path = edited(tmp_path, name, layer(where, entry), rf"\g<1>{wrong}", classes=classes)
    problems = check_train_net(path, KINDS[name], 21, 9) if name in KINDS else check_test_net(path, 21, 9)
    message = found_in(rf"{name}:\d+: layer '{where}': .*{message}", classes)
    assert len(problems) == 1 and re.search(message, problems[0]), problems
    assert NetFile(path).num_anchors() is None


@pytest.mark.parametrize("name, where, entry, wrong, message", PARAM_STR_MISTAKES)
def test_a_wrong_param_str_refused_by_the_layer(tmp_path, name, where, entry, wrong, message):
    import caffe
    from fast_rcnn.config import cfg, reset_cfg
    path = edited(tmp_path, name, layer(where, entry), rf"\g<1>{wrong}")
    try:
        cfg.TRAIN.update(KINDS.get(name, {}))
        with pytest.raises(caffe.LayerError, match=rf"{name}:\d+: layer '{where}' .*Layer: .*{message}"):
            caffe.Net(str(path), caffe.TRAIN)
    finally:
        reset_cfg()


def test_tuples_in_the_prototxts_of_py_faster_rcnn_for_coco():
    text = "'feat_stride': 16 \n'scales': !!python/tuple [4, 8, 16, 32]"
    assert anchor_layout(parse_param_str(text)) == (16, (4, 8, 16, 32), (0.5, 1, 2))
    with pytest.raises(ValueError, match="not YAML"):
        parse_param_str("'feat_stride': !!python/object/apply:os.getcwd []")


def test_a_net_for_training_is_no_test_net():
    (problem,) = check_test_net(alt_opt("stage1_rpn_train.pt"), 21, 9)
    assert re.search(r"stage1_rpn_train.pt:\d+: layer 'input-data': this net is for training", problem)


MISTAKES = [
    # file, pattern, replacement, part of the message
    ("stage1_rpn_train.pt", layer("input-data", "'num_classes': 21"), r"\1'num_classes': 4",
     r"layer .input-data.: .num_classes. in param_str is 4, but the data set has 21 classes"),
    ("stage1_fast_rcnn_train.pt", layer("hard_roi_mining", "'num_classes': 21"), r"\1'num_classes': 20",
     r"layer 'hard_roi_mining': 'num_classes' in param_str is 20"),
    ("stage1_fast_rcnn_train.pt", layer("cls_score_readonly", "num_output: 21"), r"\1num_output: 5",
     r"layer 'cls_score_readonly': num_output is 5, expected 21"),
    ("stage1_fast_rcnn_train.pt", layer("bbox_pred", "num_output: 84(?!.*num_output: 84)"), r"\1num_output: 80",
     r"layer 'bbox_pred': num_output is 80, expected 84"),
    ("stage1_rpn_train.pt", layer("rpn_cls_score", "num_output: 18"), r"\1num_output: 24",
     r"layer 'rpn_cls_score': num_output is 24, expected 18: 2 for each of 9 anchors"),
    ("stage1_rpn_train.pt", layer("rpn_bbox_pred", "num_output: 36"), r"\1num_output: 32",
     r"layer 'rpn_bbox_pred': num_output is 32, expected 36: 4 for each of 9"),
    ("stage1_fast_rcnn_train.pt", layer("rpn_bbox_pred", "num_output: 36"), r"\1num_output: 48",
     r"layer 'rpn_bbox_pred': num_output is 48, expected 36"),
    ("rpn_test.pt", "dim: 18", "dim: 24", r"dims are \[0, 24, -1, 0\], expected 18 as the second"),
    ("rpn_test.pt", "'feat_stride': 16", "'feat_stride': 8", r"feat_stride is 8, but a cell is 16 pixels wide"),
    ("faster_rcnn_test.pt", "spatial_scale: 0.0625", "spatial_scale: 0.125", r"spatial_scale is 0.125, expected 1/16"),
    ("faster_rcnn_test.pt", '"ROIPooling"(.*?)spatial_scale: 0.0625', r'"ROIAlign"\1spatial_scale: 0.25',
     r"layer 'roi_pool5': spatial_scale is 0.25, expected 1/16"),
    ("faster_rcnn_test.pt", '"ROIPooling"(.*?)roi_pooling_param(.*?)spatial_scale: 0.0625',
     r'"ROIAlign"\1roi_align_param\2spatial_scale: 0.5', r"layer 'roi_pool5': spatial_scale is 0.5, expected 1/16"),
    ("stage1_rpn_train.pt", r"\n *top: .im_info.", "", r"its tops are data, gt_boxes; expected data, im_info"),
    ("stage1_rpn_train.pt", r"top: .im_info.(.*?)top: .gt_boxes.", r'top: "gt_boxes"\1top: "im_info"',
     r"its tops are data, gt_boxes, im_info; expected"),
    ("stage1_fast_rcnn_train.pt", layer("hard_roi_mining", r"\n  propagate_down: false"), r"\1",
     r"layer 'hard_roi_mining': needs propagate_down: false once for each of its 7 bottoms"),
    ("stage1_fast_rcnn_train.pt", layer("fc6_readonly", 'name: "fc6_w"'), r'\1name: "fc6_ww"',
     r"layer 'fc6_readonly': shares no weights with 'fc6', .*'fc6_ww', 'fc6_b', those of 'fc6' 'fc6_w', 'fc6_b'"),
    ("stage2_fast_rcnn_train.pt", layer("cls_score", 'name: "cls_score_b"(?!.*name: "cls_score_b")'), r"\1",
     r"layer 'cls_score_readonly': shares no weights with 'cls_score'"),
    ("stage1_fast_rcnn_train.pt", '"fc7_readonly"', '"fc77_readonly"',
     r"layer 'fc77_readonly': there is no layer 'fc77' whose weights it could share"),
]


@pytest.mark.parametrize("name, pattern, replacement, message", MISTAKES, ids=[m[3][:60] for m in MISTAKES])
def test_an_error_is_found_and_located(tmp_path, name, pattern, replacement, message, classes):
    path = edited(tmp_path, name, pattern, replacement, classes=classes)
    problems = check_train_net(path, KINDS[name], 21, 9) if name in KINDS else check_test_net(path, 21, 9)
    assert len(problems) >= 1 and re.search(found_in(message, classes), problems[0]), problems
    file, line = problems[0].split(":")[:2]
    assert file == str(path)
    named = re.search(r"layer '([^']+)'", problems[0])[1]
    block = "\n".join(path.read_text().splitlines()[int(line) - 1:int(line) + 2])
    assert named in block


def test_layers_that_disagree_about_anchors(tmp_path):
    path = tmp_path / "train.pt"
    text = (MODELS / "Tiny" / "faster_rcnn_end2end" / "train.pt").read_text()
    first, second = text.rsplit("'scales'", 1)
    path.write_text(first + "'scales'" + second.replace("2", "3", 1))
    assert "they must agree" in check_train_net(path, END2END, 21)[0]


def test_other_tasks_of_a_head_have_their_own_widths(tmp_path):
    """For example the orientation of each RoI, from further tops of a custom layer for targets."""
    path, text = tmp_path / "train.pt", (MODELS / "Tiny" / "faster_rcnn_end2end" / "train.pt").read_text()
    last = '  top: "bbox_outside_weights"\n'
    text = text.replace(last, last + '  top: "turns"\n  top: "eyes"\n')
    for name, count, kind, target in (("turn", 8, "SoftmaxWithLoss", "turns"), ("eye", 10, "SmoothL1Loss", "eyes")):
        text += (f'layer {{ name: "{name}" type: "InnerProduct" bottom: "fc7" top: "{name}" inner_product_param {{ '
                 f'num_output: {count} }} }}\nlayer {{ name: "{name}_loss" type: "{kind}" bottom: "{name}" '
                 f'bottom: "{target}" top: "{name}_loss" }}\n')
    text += ('layer { name: "is_object" type: "Python" bottom: "labels" top: "is_object" propagate_down: false '
             'python_param { module: "m" layer: "L" param_str: "num_classes: 2" } }\n')
    path.write_text(text)
    assert check_train_net(path, END2END, 21) == []
    assert [layer.name for layer in NetFile(path).score_layers()] == ["cls_score"]
    assert [layer.name for layer in NetFile(path).box_layers()] == ["bbox_pred"]


def test_each_rpn_of_a_net_has_its_own_anchors(tmp_path):
    path, text = tmp_path / "train.pt", (MODELS / "Tiny" / "faster_rcnn_end2end" / "train.pt").read_text()
    start, end = text.index('layer {\n  name: "rpn_conv/3x3"'), text.index("layer {  # 21 classes", 2000)
    second = re.sub(r'(name|top|bottom): "(rpn[^"]*|proposal)"', r'\1: "\2_2"', text[start:end])
    second = second.replace("[2, 4, 8]", "[2, 3]").replace("num_output: 18", "num_output: 12")
    path.write_text(text[:end] + second + text[end:])
    assert check_train_net(path, END2END, 21) == [] and NetFile(path).num_anchors() == 9
    path.write_text(text[:end] + second.replace("[2, 3]", "[2, 5]", 1) + text[end:])
    (problem,) = check_train_net(path, END2END, 21)
    assert "layer 'proposal_2'" in problem and "those of layer 'rpn-data_2'" in problem
    assert "other nets of the same run 12" in check_test_net(alt_opt("rpn_test.pt"), 21, 12)[0]


def test_mining_and_settings_must_agree(tmp_path, classes):
    path = edited(tmp_path, "stage1_fast_rcnn_train.pt", "^", "", classes=classes)
    without = Config(TRAIN, HAS_RPN=False, BBOX_REG=True, USE_OHEM=False)
    assert "TRAIN.USE_OHEM is False" in check_train_net(path, without, 21)[0]
    plain = tmp_path / "train.pt"
    plain.write_text(model_files("Tiny")["Tiny/faster_rcnn_alt_opt_no_ohem/stage1_fast_rcnn_train.pt"])
    assert check_train_net(plain, without, 21) == []
    assert "has no OHEMDataLayer" in check_train_net(plain, KINDS["stage1_fast_rcnn_train.pt"], 21)[0]


@pytest.mark.parametrize("method, train, message", [
    ("faster_rcnn_end2end_ohem", END2END, r"train.pt:\d+: layer 'hard_roi_mining': mines hard examples, but "
                                          r"TRAIN.USE_OHEM is False: .* random sample of RoIs; .*, or set it to True$"),
    ("faster_rcnn_end2end", END2END_OHEM, r"train.pt: has no OHEMDataLayer, but TRAIN.USE_OHEM is True"),
    ("faster_rcnn_end2end_ohem", KINDS["stage1_fast_rcnn_train.pt"],
     r"train.pt:\d+: layer 'input-data': its tops are data, im_info, gt_boxes; .* as TRAIN.HAS_RPN is False"),
    ("faster_rcnn_end2end_ohem", KINDS["stage1_rpn_train.pt"], "TRAIN.USE_OHEM is False"),
])
def test_end_to_end_nets_and_settings_must_agree(tmp_path, method, train, message, classes):
    path = edited(tmp_path, f"../{method}/train.pt", "^", "", classes=classes)
    (problem,) = check_train_net(path, train, 21)
    assert re.search(found_in(message, classes), problem), problem


@pytest.mark.parametrize("name, pattern, replacement, message", [
    ("stage1_rpn_train.pt", "^", "", ""),
    ("stage1_rpn_train.pt", "rpn_bbox_pred", "mine", "has no layer 'rpn_bbox_pred'. With TRAIN.RPN_NORMALIZE_TARGETS"),
    ("stage1_rpn_train.pt", "num_output: 36", r"\g<0> bias_term: false", "layer 'rpn_bbox_pred': needs its bias"),
    ("../faster_rcnn_end2end/train.pt", "^", "", "layer 'proposal': makes proposals from predictions of plain box"),
])
def test_normalised_targets_of_anchors(tmp_path, name, pattern, replacement, message, classes):
    path = edited(tmp_path, name, pattern, replacement, classes=classes)
    train = KINDS[name] if name in KINDS else END2END
    assert check_train_net(path, train, 21) == []
    problems = check_train_net(path, Config({**train, "RPN_NORMALIZE_TARGETS": True}), 21)
    assert len(problems) == bool(message) and all(re.search(found_in(message, classes), each) for each in problems)


@pytest.mark.parametrize("where", ["roi-data", "hard_roi_mining"])
def test_the_number_of_classes_of_an_end_to_end_net_that_mines(tmp_path, where):
    name = "../faster_rcnn_end2end_ohem/train.pt"
    path = edited(tmp_path, name, layer(where, "'num_classes': 21"), r"\1'num_classes': few")
    assert re.search(f"layer '{where}': .* is 'few', expected a whole", *check_train_net(path, END2END_OHEM, 21))
    path = edited(tmp_path, name, layer(where, "'num_classes': 21"), r"\1'num_classes': 4")
    assert re.search(f"layer '{where}': .* is 4, but the data set has 21", *check_train_net(path, END2END_OHEM, 21))


def test_layers_that_should_be_frozen(tmp_path):
    path = edited(tmp_path, "stage2_rpn_train.pt", layer("conv3_1", r"lr_mult: 0"), r"\1lr_mult: 1")
    (problem,) = check_frozen(path, "rpn", 2)
    assert "layer 'conv3_1': must be frozen in stage 2" in problem
    path = edited(tmp_path, "stage1_fast_rcnn_train.pt", layer("rpn_cls_score", r"lr_mult: 0"), r"\1lr_mult: 1")
    assert "layer 'rpn_cls_score': must be frozen in stage 1 (fast_rcnn)" in check_frozen(path, "fast_rcnn", 1)[0]


def test_statistics_of_batch_norm_in_shared_layers_stay_in_stage_2(tmp_path):
    added = 'layer { name: "mine" type: "BatchNorm" bottom: "conv3_1" top: "mine" batch_norm_param { %s } }\n'
    for moving in ("", "use_global_stats: false"):
        path = edited(tmp_path, "stage2_rpn_train.pt", r"\Z", added % moving)
        (problem,) = check_frozen(path, "rpn", 2)
        assert "layer 'mine': must be frozen in stage 2 (rpn): give it batch_norm_param { use_global" in problem
        assert check_frozen(path, "rpn", 1) == []
    path = edited(tmp_path, "stage2_rpn_train.pt", r"\Z", added % "use_global_stats: true")
    assert check_frozen(path, "rpn", 2) == []


def test_layers_that_stage_2_inherits():
    """The convolutions, and for the final detector the RPN; not the head, of which the RPN's net has dummies."""
    trunk = {"conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1", "conv5_2"}
    rpn, head = {"rpn_conv/3x3", "rpn_cls_score", "rpn_bbox_pred"}, {"fc6", "fc7", "cls_score", "bbox_pred"}
    for part, wanted in (("rpn", trunk), ("fast_rcnn", trunk | rpn)):
        found = inherited_layers(alt_opt(f"stage2_{part}_train.pt"), part)
        assert found & (trunk | rpn | head) == wanted


@pytest.mark.parametrize("inserted, bottom, count", [
    ('type: "Scale"', "conv3_1", "one"), ('type: "Scale" scale_param { bias_term: true }', "conv3_1", "two"),
    ('type: "PReLU"', "conv3_1", "one"), ('type: "Bias"', "conv3_1", "one"),
    ('type: "Deconvolution" convolution_param { num_output: 64 kernel_size: 1 bias_term: false }', "conv3_1", "one"),
    ('type: "DepthwiseConvolution" convolution_param { num_output: 64 kernel_size: 1 }', "conv3_1", "two"),
    ('type: "Scale"', "pool5", ""), ('type: "Convolution" convolution_param { num_output: 128 kernel_size: 1 }',
                                     "pool5", "")])
def test_every_shared_layer_is_frozen_in_stage_2_and_the_head_is_not(tmp_path, inserted, bottom, count):
    added = f'layer {{ name: "mine" bottom: "{bottom}" top: "mine" {inserted} }}\n'
    path = edited(tmp_path, "stage2_fast_rcnn_train.pt", r"\Z", added)
    problems = check_frozen(path, "fast_rcnn", 2)
    assert len(problems) == bool(count) and check_frozen(path, "fast_rcnn", 1) == []
    assert all(f"must be frozen in stage 2 (fast_rcnn): give it {count} param {{" in problem for problem in problems)
    param = "param { lr_mult: 0 } " * (2 if count == "two" else 1)
    path = edited(tmp_path, "stage2_fast_rcnn_train.pt", r"\Z", added.replace("type:", f"{param} type:"))
    assert check_frozen(path, "fast_rcnn", 2) == []


def test_slopes_of_a_readonly_layer_are_shared(tmp_path):
    slopes = ('layer { name: "%s" type: "PReLU" bottom: "fc6%s" top: "fc6%s" param { name: "%s" } }\n')
    for name, found in (("slopes", 0), ("others", 1)):
        added = slopes % ("act6", "", "", "slopes") + slopes % ("act6_readonly", "_readonly", "_readonly", name)
        path = edited(tmp_path, "stage1_fast_rcnn_train.pt", r"\Z", added)
        problems = check_train_net(path, KINDS["stage1_fast_rcnn_train.pt"], 21)
        assert len(problems) == found and all("'act6_readonly': shares no weights with 'act6'" in each
                                              for each in problems)


def test_all_problems_come_in_one_error():
    problems = check_train_net(alt_opt("stage1_fast_rcnn_train.pt"), KINDS["stage1_fast_rcnn_train.pt"], 4)
    assert len(problems) == 6       # data, mining, and twice cls_score and bbox_pred
    with pytest.raises(CheckError) as caught:
        raise_all([*problems, *problems], "what to do")
    assert str(caught.value).splitlines() == [*problems, "what to do"]
    raise_all([], "nothing to do")
