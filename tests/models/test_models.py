"""The prototxts: shipped files equal the generated ones; all are readable, with consistent class and anchor counts."""
from pathlib import Path

import make_models
import pytest

import caffe
from caffe import net_spec
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse, read_net, read_solver, write_message
from net_definitions import NETS, Sizes, is_shipped, model_files

MODELS = Path(__file__).resolve().parents[2] / "models"
SHIPPED_FILES = sorted(path.relative_to(MODELS).as_posix() for path in MODELS.glob("*/*/*.pt"))
ALL_FILES = sorted(file for net in NETS for file in model_files(net))
NET_FILES = [file for file in ALL_FILES if "solver" not in file]
SOLVER_FILES = [file for file in ALL_FILES if "solver" in file]


def layers_of(text: str) -> dict[str, caffe_pb2.LayerParameter]:
    return {layer.name: layer for layer in parse(text, caffe_pb2.NetParameter()).layer}


def outputs(layer) -> int:
    field = "convolution_param" if layer.type == "Convolution" else "inner_product_param"
    return getattr(layer, field).num_output


@pytest.mark.parametrize("net", NETS)
def test_shipped_files_equal_the_generated_ones(net):
    shipped = {file: (MODELS / file).read_text() for file in SHIPPED_FILES if file.startswith(f"{net}/")}
    definition = {file: text for file, text in model_files(net).items() if is_shipped(file)}
    assert shipped == definition and len(shipped) == 16, "run tools/make_models.py"


def test_no_setting_is_an_empty_list(monkeypatch):
    """BVLC's NetSpec reads the first element of every list, so a list must not be empty."""
    class Function(net_spec.Function):
        def __init__(self, type_name, inputs, params):
            assert [] not in params.values(), (type_name, params)
            super().__init__(type_name, inputs, params)

    monkeypatch.setattr(net_spec, "Function", Function)
    assert all(model_files(net) for net in NETS)


def test_there_are_no_other_nets():
    assert {file.split("/")[0] for file in SHIPPED_FILES} == set(NETS)


@pytest.mark.parametrize("file", NET_FILES)
def test_net_is_readable_and_complete(file, models):
    net = read_net(models / file)
    names = [layer.name for layer in net.layer]
    assert len(set(names)) == len(names)
    made: set[str] = set()
    for layer in net.layer:
        assert set(layer.bottom) <= made, f"{layer.name} reads blobs that no layer before it makes"
        assert len(layer.propagate_down) in (0, len(layer.bottom))
        made |= set(layer.top)


@pytest.mark.parametrize("file", SOLVER_FILES)
def test_solver_names_a_net_that_exists(file, models):
    solver = read_solver(models / file)
    net = models.parent / solver.train_net
    assert net.is_file() and net.parent == (models / file).parent
    assert Path(solver.train_net).is_absolute() is not is_shipped(file)
    assert (solver.lr_policy, solver.gamma, solver.snapshot) == ("step", pytest.approx(0.1), 0)
    assert (solver.momentum, solver.weight_decay) == (pytest.approx(0.9), pytest.approx(0.0005))


@pytest.mark.parametrize("file, base_lr, stepsize, prefix", [
    ("VGG16/faster_rcnn_alt_opt/stage1_rpn_solver60k80k.pt", 0.001, 60000, "vgg16_rpn"),
    ("ZF/faster_rcnn_alt_opt/stage2_fast_rcnn_solver30k40k.pt", 0.001, 30000, "zf_fast_rcnn"),
    ("VGG_CNN_M_1024/faster_rcnn_end2end/solver.pt", 0.001, 50000, "vgg_cnn_m_1024_faster_rcnn"),
    ("Tiny/faster_rcnn_alt_opt/stage2_rpn_solver60k80k.pt", 0.02, 600, "tiny_rpn"),
    ("Tiny/faster_rcnn_alt_opt/stage1_fast_rcnn_solver30k40k.pt", 0.005, 300, "tiny_fast_rcnn"),
])
def test_schedules(file, base_lr, stepsize, prefix):
    solver = read_solver(MODELS / file)
    assert solver.base_lr == pytest.approx(base_lr)
    assert (solver.stepsize, solver.snapshot_prefix) == (stepsize, prefix)


@pytest.mark.parametrize("net", NETS)
def test_class_and_anchor_counts_follow_everywhere(net):
    """4 classes; 5 scales x 2 ratios = 10 anchors; 8 outputs of fc6, 9 of fc7."""
    for name, text in model_files(net, 4, Sizes((1, 2, 3, 4, 5), (0.7, 1.5), 8, 9)).items():
        if "solver" in name:
            continue
        for layer in layers_of(text).values():
            role = layer.name.removesuffix("_readonly")
            assert role != "cls_score" or outputs(layer) == 4
            assert role != "bbox_pred" or outputs(layer) == 16
            assert role != "rpn_cls_score" or outputs(layer) == 20
            assert role != "rpn_bbox_pred" or outputs(layer) == 40
            assert role != "fc6" or outputs(layer) == 8
            assert role != "fc7" or outputs(layer) == 9
            assert role != "rpn_cls_prob_reshape" or list(layer.reshape_param.shape.dim) == [0, 20, -1, 0]
            if layer.type == "Python" and role in ("rpn-data", "proposal"):
                assert layer.python_param.param_str == ("'feat_stride': 16\n'scales': [1, 2, 3, 4, 5]\n"
                                                        "'ratios': [0.7, 1.5]")
            elif layer.type == "Python":
                assert layer.python_param.param_str == "'num_classes': 4"


@pytest.mark.parametrize("file", ["faster_rcnn_alt_opt/stage1_fast_rcnn_train.pt", "faster_rcnn_end2end_ohem/train.pt"])
def test_a_head_that_published_weights_do_not_fit_has_fillers_of_its_own(file):
    """1 / sqrt(3 * inputs): 25,088 inputs of fc6, 8 of fc7, 300 of the last layers; no dropout."""
    layers = layers_of(model_files("VGG16", 4, Sizes(fc6=8, fc7=300))[f"VGG16/{file}"])
    stds = {name: layer.inner_product_param.weight_filler.std for name, layer in layers.items()
            if layer.type == "InnerProduct"}
    expected = {"fc6": 0.0036, "fc7": 0.2, "cls_score": 0.033, "bbox_pred": 0.033}
    assert stds == pytest.approx({name + suffix: std for name, std in expected.items() for suffix in ("", "_readonly")})
    assert not any(layer.type == "Dropout" for layer in layers.values())


@pytest.mark.parametrize("net, sizes", [("VGG16", Sizes(fc6=4096)), ("VGG_CNN_M_1024", Sizes(fc6=4096, fc7=1024)),
                                        ("SqueezeNet", Sizes(fc6=8)), ("Tiny", Sizes(fc7=9))])
def test_other_heads_keep_fillers_and_dropout(net, sizes):
    def kept(files):
        return [(layer.name, layer.type, str(layer.inner_product_param.weight_filler))
                for layer in layers_of(files[f"{net}/faster_rcnn_end2end/train.pt"]).values()
                if layer.type in ("InnerProduct", "Dropout")]
    assert kept(model_files(net, 4, sizes)) == kept(model_files(net, 4))


def test_squeezenets_last_layers_start_from_the_scale_of_their_inputs():
    """1 / sqrt(3 * 75) = 0.067."""
    layers = layers_of(model_files("SqueezeNet", 4, Sizes(fc7=75))["SqueezeNet/faster_rcnn_end2end/train.pt"])
    assert [layers[name].inner_product_param.weight_filler.std for name in ("cls_score", "bbox_pred")] == \
        pytest.approx([0.067, 0.067])


@pytest.mark.parametrize("net, roi_layer, expected", [
    ("VGG16", None, "ROIPooling"), ("SqueezeNet", None, "ROIAlign"), ("ZF", "ROIAlign", "ROIAlign"),
    ("SqueezeNet", "ROIPooling", "ROIPooling")])
def test_the_layer_that_pools_rois(net, roi_layer, expected):
    """Heads that are trained, the readonly heads and the detectors use the same one."""
    for file, text in model_files(net, 4, Sizes(roi_layer=roi_layer)).items():
        if "solver" in file:
            continue
        pools = [layer for layer in layers_of(text).values() if layer.type.startswith("ROI")]
        assert {layer.type for layer in pools} <= {expected}, file
        assert pools or "rpn" in file, file
        for layer in pools:
            param = layer.roi_align_param if expected == "ROIAlign" else layer.roi_pooling_param
            size = NETS[net].pool_size
            assert (param.pooled_h, param.pooled_w, param.spatial_scale) == (size, size, 1 / 16)
            assert expected == "ROIPooling" or param.sampling_ratio == 2


def frozen_convolutions(path: Path) -> tuple[int, int]:
    """Numbers of frozen convolutions and of all convolutions of the trunk."""
    trunk = [layer for layer in read_net(path).layer
             if layer.type == "Convolution" and layer.name.startswith("conv")]
    frozen = [layer for layer in trunk if [p.lr_mult for p in layer.param] == [0, 0]]
    return len(frozen), len(trunk)


@pytest.mark.parametrize("net, first_stage, trunk", [
    ("VGG16", 4, 13), ("VGG_CNN_M_1024", 1, 5), ("ZF", 0, 5), ("Tiny", 0, 6)])
@pytest.mark.parametrize("method", ["faster_rcnn_alt_opt", "faster_rcnn_alt_opt_no_ohem"])
def test_frozen_convolutions(net, first_stage, trunk, method, models):
    for part in ("rpn", "fast_rcnn"):
        assert frozen_convolutions(models / f"{net}/{method}/stage1_{part}_train.pt") == (first_stage, trunk)
        assert frozen_convolutions(models / f"{net}/{method}/stage2_{part}_train.pt") == (trunk, trunk)
    assert frozen_convolutions(models / f"{net}/faster_rcnn_end2end/train.pt") == (first_stage, trunk)


MINING_NETS = ["faster_rcnn_alt_opt/stage1_fast_rcnn_train.pt", "faster_rcnn_alt_opt/stage2_fast_rcnn_train.pt",
               "faster_rcnn_end2end_ohem/train.pt"]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("file", MINING_NETS)
def test_readonly_head_shares_all_parameters_and_blocks_all_gradients(net, file):
    layers = layers_of((MODELS / net / file).read_text())
    readonly = [layer for name, layer in layers.items() if name.endswith("_readonly")]
    for layer in [*readonly, layers["hard_roi_mining"]]:
        assert list(layer.propagate_down) == [False] * len(layer.bottom)
    for name in ("fc6", "fc7", "cls_score", "bbox_pred"):
        shared = [f"{name}_w", f"{name}_b"]
        assert [p.name for p in layers[name].param] == shared
        assert [p.name for p in layers[f"{name}_readonly"].param] == shared
        assert [p.lr_mult for p in layers[name].param] == [1, 2]
        assert not any(p.HasField("lr_mult") for p in layers[f"{name}_readonly"].param)
    mining = layers["hard_roi_mining"]
    assert list(mining.bottom)[:3] == ["cls_prob_readonly", "bbox_pred_readonly", "rois"]
    assert list(layers["loss_cls"].bottom) == ["cls_score", "labels_hard"]
    assert not any("_hard" in bottom for layer in readonly for bottom in layer.bottom)


def weights_of(path: Path) -> set[str]:
    return {layer.name.removesuffix("_readonly") for layer in read_net(path).layer
            if layer.type in ("Convolution", "InnerProduct")}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("method", ["faster_rcnn_alt_opt", "faster_rcnn_alt_opt_no_ohem"])
def test_every_stage_saves_what_the_next_one_needs(net, method, models):
    """Weights are matched by layer name, so stages and test nets must agree on the names."""
    folder = models / net / method
    final = weights_of(folder / "faster_rcnn_test.pt")
    rpn = weights_of(folder / "rpn_test.pt")
    assert final == rpn | {"fc6", "fc7", "cls_score", "bbox_pred"}
    for stage in (1, 2):
        assert weights_of(folder / f"stage{stage}_fast_rcnn_train.pt") == final
        assert weights_of(folder / f"stage{stage}_rpn_train.pt") == rpn | {"fc6", "fc7"}
    for end2end in (models / net / "faster_rcnn_end2end", models / net / "faster_rcnn_end2end_ohem"):
        assert weights_of(end2end / "train.pt") == weights_of(end2end / "test.pt") >= final - rpn


@pytest.mark.parametrize("net", NETS)
def test_end_to_end_nets_with_and_without_mining_differ_in_the_head_only(net):
    """RPN and proposals are the same; with mining, the readonly head reads all RoIs and the head the hard ones."""
    plain, mining = (layers_of((MODELS / net / f"faster_rcnn_end2end{ohem}/train.pt").read_text())
                     for ohem in ("", "_ohem"))
    names = list(plain)
    common = names[:names.index("roi-data") + 1]
    assert common == list(mining)[:len(common)] and all(plain[name] == mining[name] for name in common)
    readonly = [name for name in mining if name.endswith("_readonly")]
    rest = names[len(common):]
    assert list(mining) == [*common, *readonly, "hard_roi_mining", *rest]
    pool = plain[names[len(common)]].name
    assert list(mining[f"{pool}_readonly"].bottom)[1] == "rois" and list(mining[pool].bottom)[1] == "rois_hard"
    assert list(mining["hard_roi_mining"].bottom)[2:] == list(plain["roi-data"].top)
    test_nets = [(MODELS / net / f"faster_rcnn_end2end{ohem}/test.pt").read_text() for ohem in ("", "_ohem")]
    assert test_nets[0] == test_nets[1]


def test_make_models_writes_files_that_name_each_other(tmp_path, capsys):
    arguments = ["--net", "Tiny", "--classes", "4", "--scales", "2", "4.5", "--out", str(tmp_path)]
    assert make_models.main(arguments) == 0
    folder = tmp_path / "Tiny" / "faster_rcnn_alt_opt"
    solver = read_solver(folder / "stage1_rpn_solver60k80k.pt")
    assert Path(solver.train_net) == folder / "stage1_rpn_train.pt"
    layers = layers_of((folder / "faster_rcnn_test.pt").read_text())
    assert outputs(layers["cls_score"]) == 4
    assert layers["proposal"].python_param.param_str == "'feat_stride': 16\n'scales': [2, 4.5]"
    assert "26 files" in capsys.readouterr().out


def test_edited_nets_are_kept_or_the_command_is_refused(tmp_path, capsys):
    words = ["--net", "Tiny", "--out", str(tmp_path), "--classes"]
    net = tmp_path / "Tiny" / "faster_rcnn_alt_opt" / "stage1_rpn_train.pt"
    assert make_models.main([*words, "3"]) == 0 and make_models.main([*words, "4"]) == 0
    assert make_models.main(["--net", "ZF", *words[2:], "3"]) == 0
    net.write_text(mine := net.read_text() + "# mine\n")
    assert make_models.main([*words, "4"]) == 0 and f"Kept as you have edited it: {net}" in capsys.readouterr().out
    assert make_models.main([*words, "5"]) == 2 and net.read_text() == mine
    assert f"{net}: was edited since it was written\nThis command would write something else" in capsys.readouterr().err


def test_make_models_rewrites_models(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_models, "MODELS", tmp_path / "models")
    monkeypatch.setattr(make_models._init_paths, "ROOT", tmp_path)
    assert make_models.main([]) == 0
    written = {path.relative_to(tmp_path / "models").as_posix(): path.read_text()
               for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {file: (MODELS / file).read_text() for file in SHIPPED_FILES}
    assert "16 files" in capsys.readouterr().out


@pytest.mark.parametrize("settings, words", [
    (dict(net="VGG"), "there is no net 'VGG'; choose one of VGG16"),
    (dict(net="ZF", num_classes=1), "1 classes: at least 2"),
    (dict(net="ZF", num_classes=10**11), "100000000000 classes: a layer can have 536870911 at most"),
    (dict(net="ZF", sizes=Sizes(anchor_scales=(8, -1))), "anchor scales 8 -1: expected different"),
    (dict(net="ZF", sizes=Sizes(anchor_scales=(8, float("inf")))), "anchor scales 8 inf: expected different"),
    (dict(net="ZF", sizes=Sizes(anchor_ratios=(float("nan"),))), "anchor ratios nan: expected different"),
    (dict(net="ZF", sizes=Sizes(anchor_ratios=(1, 1.0))), "anchor ratios 1 1: expected different"),
    (dict(net="ZF", sizes=Sizes(fc7=0)), "fc7 with 0 outputs"),
])
def test_impossible_tasks_are_reported(tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        make_models.make_models(**settings, out_dir=tmp_path)
    assert not list(tmp_path.iterdir())


# ---- nets that run
def run_trunk(net: str, tmp_path: Path, height: int, width: int) -> tuple[int, ...]:
    """Shape of the trunk's output for an image of the given size."""
    message = read_net(MODELS / net / "faster_rcnn_end2end/test.pt")
    end = next(i for i, layer in enumerate(message.layer) if layer.name.startswith("rpn_"))
    del message.layer[end:]
    path = tmp_path / f"{net}.pt"
    write_message(path, message)
    caffe_net = caffe.Net(str(path), caffe.TEST)
    caffe_net.blobs["data"].reshape(1, 3, height, width)
    caffe_net.forward()
    return caffe_net.blobs[message.layer[-1].top[0]].data.shape


@pytest.mark.parametrize("net, shape", [
    ("VGG16", (1, 512, 5, 6)), ("ZF", (1, 256, 6, 7)), ("VGG_CNN_M_1024", (1, 512, 4, 5)), ("Tiny", (1, 128, 5, 6))])
def test_trunk_has_stride_16(net, shape, tmp_path):
    """75 x 90 pixels. VGG pools 75 -> 38 -> 19 -> 10 -> 5; ZF pads, and VGG_CNN_M does not."""
    assert run_trunk(net, tmp_path, 75, 90) == shape
