"""Old nets and solvers: the upgraded text equals the output of Caffe's own tools."""
import importlib.util
import json
from pathlib import Path

import pytest

from caffe.engine.graph.upgrade import (
    LAYER_TYPES,
    SOLVER_TYPES,
    read_net_upgraded,
    upgrade_net,
    upgrade_net_text,
    upgrade_solver,
    upgrade_solver_text,
)
from caffe.engine.layer import LayerError
from caffe.errors import SolverError
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse, to_text

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def net_of(text):
    return parse(text, caffe_pb2.NetParameter())


def upgraded(text):
    net = net_of(text)
    assert upgrade_net(net)
    assert not upgrade_net(net)         # once is enough
    return net


# ---------------------------------------------------------------------------------------------- recorded
@pytest.fixture(scope="module")
def checker():
    spec = importlib.util.spec_from_file_location("check_golden", GOLDEN / "check_golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--golden-engine"))
        entries = json.loads((folder / "index.json").read_text())
        cases = [(folder, entry) for entry in entries if entry.get("kind") == "upgrade"]
        metafunc.parametrize("case", cases, ids=[entry["name"] for _, entry in cases])


def test_text_is_what_caffe_wrote(case, checker, tmp_path):
    folder, entry = case
    out = tmp_path / "new.prototxt"
    upgrade = upgrade_net_text if entry["what"] == "net" else upgrade_solver_text
    upgrade(folder / entry["prototxt"], out)
    want = checker.parse_text((folder / entry["expected"]).read_text())
    assert checker.diff_text(checker.parse_text(out.read_text()), want) is None


# ---------------------------------------------------------------------------------------------- V0
def test_v0_keeps_only_what_caffe_keeps():
    net = upgraded("""
        name: "old" debug_info: true state { phase: TRAIN } input: "x" input_dim: [2, 3, 4, 5]
        layers { layer { name: "c" type: "conv" num_output: 7 } bottom: "x" top: "y"
                 loss_weight: 2 include { phase: TEST } }""")
    assert not net.HasField("debug_info") and not net.HasField("state")
    assert net.layer[1].type == "Convolution" and net.layer[1].convolution_param.num_output == 7
    assert not net.layer[1].loss_weight and not net.layer[1].include


def test_v0_weights_become_the_layers_blobs():
    net = upgraded("""layers { layer { name: "ip" type: "innerproduct" num_output: 2
        blobs { num: 1 channels: 1 height: 2 width: 3 data: [1, 2, 3, 4, 5, 6] } blobs_lr: 5 } top: "y" }""")
    assert list(net.layer[0].blobs[0].data) == [1, 2, 3, 4, 5, 6]
    assert net.layer[0].param[0].lr_mult == 5


def test_v0_data_layers():
    net = upgraded("""
        layers { layer { name: "i" type: "images" source: "l" batchsize: 3 new_height: 8 new_width: 9
                         shuffle_images: true rand_skip: 2 cropsize: 5 } top: "a" top: "b" }
        layers { layer { name: "w" type: "window_data" source: "w" batchsize: 4 det_fg_threshold: 0.75
                         det_bg_threshold: 0.25 det_fg_fraction: 0.5 det_context_pad: 16
                         det_crop_mode: "square" } top: "c" }
        layers { layer { name: "h" type: "hdf5_data" source: "h" batchsize: 6 } top: "d" }
        layers { layer { name: "o" type: "hdf5_output" hdf5_output_param { file_name: "o.h5" } } bottom: "d" }
        layers { layer { name: "g" type: "infogain_loss" source: "H" } bottom: "d" top: "l" }""")
    images, window, h5, out, infogain = net.layer
    assert to_text(images.image_data_param).split("\n")[:-1] == [
        'source: "l"', "batch_size: 3", "rand_skip: 2", "shuffle: true", "new_height: 8", "new_width: 9"]
    assert images.transform_param.crop_size == 5
    assert to_text(window.window_data_param).split("\n")[:-1] == [
        'source: "w"', "batch_size: 4", "fg_threshold: 0.75", "bg_threshold: 0.25", "fg_fraction: 0.5",
        "context_pad: 16", 'crop_mode: "square"']
    assert (h5.hdf5_data_param.source, h5.hdf5_data_param.batch_size) == ("h", 6)
    assert out.hdf5_output_param.file_name == "o.h5" and infogain.infogain_loss_param.source == "H"


def test_an_unused_v0_field_is_dropped_with_a_warning(caplog):
    net = upgraded('layers { layer { name: "r" type: "relu" num_output: 3 } top: "y" }')
    assert "layer 'r': 'relu' has no use for num_output" in caplog.text
    assert net.layer[0].type == "ReLU" and not net.layer[0].HasField("inner_product_param")


@pytest.mark.parametrize("text, words", [
    ('layers { layer { name: "c" type: "convo" } top: "y" }',
     "unknown V0 layer type 'convo'; did you mean 'conv'?"),
    ('layers { layer { name: "c" type: "conv" } bottom: "x" top: "y" }',
     "layer 'c': no layer before it has a top 'x'"),
    ('input: "x" layers { layer { name: "p" type: "padding" pad: 1 } bottom: "x" top: "q" } '
     'layers { layer { name: "r" type: "relu" } bottom: "q" top: "y" }',
     "layer 'r': it reads the padding layer 'p'"),
    ('layers { layer { name: "c" type: "conv" } top: "y" } layers { name: "r" type: RELU bottom: "y" }',
     "layer 'r': a net with V0 layers"),
    ('layers { name: "r" type: RELU } layer { name: "s" type: "ReLU" }', "layer 's': the net has"),
])
def test_nets_without_meaning_are_refused(text, words):
    with pytest.raises(LayerError, match=words.replace("?", r"\?")):
        upgrade_net(net_of(text))


# ---------------------------------------------------------------------------------------------- V1 and V2
def test_every_v1_type_and_solver_type_has_a_name():
    assert set(LAYER_TYPES) == set(caffe_pb2.V1LayerParameter.LayerType.keys())
    assert set(SOLVER_TYPES) == set(caffe_pb2.SolverParameter.SolverType.keys())


def test_every_field_of_v1_exists_today_with_the_same_type():
    old, new = caffe_pb2.V1LayerParameter.DESCRIPTOR, caffe_pb2.LayerParameter.DESCRIPTOR
    special = {"type", "param", "blob_share_mode", "blobs_lr", "weight_decay", "layer"}
    for field in old.fields:
        if field.name not in special:
            assert new.fields_by_name[field.name].type == field.type, field.name
            assert new.fields_by_name[field.name].message_type is field.message_type, field.name


def test_v1_caffemodel_keeps_blobs_and_drops_inputs_without_shape():
    net = caffe_pb2.NetParameter.FromString(net_of("""
        name: "m" input: "data"
        layers { name: "c" type: CONVOLUTION blobs { data: [1.5, 2] } blobs { double_data: [0.25] } }
        """).SerializeToString())
    assert upgrade_net(net)
    assert [layer.type for layer in net.layer] == ["Convolution"] and not net.input
    assert list(net.layer[0].blobs[0].data) == [1.5, 2] and net.layer[0].blobs[1].double_data[0] == 0.25


def test_every_data_layer_gets_both_messages_once_one_needs_them():
    net = upgraded('layers { type: DATA data_param { scale: 2 } } layers { type: IMAGE_DATA }')
    assert to_text(net.layer[0]).split("\n")[1:-1] == ["transform_param { scale: 2 }", "data_param { }"]
    assert net.layer[1].HasField("transform_param") and net.layer[1].HasField("image_data_param")


def test_v2_data_params_stay():
    net = net_of('layer { type: "Data" data_param { scale: 2 } }')
    assert not upgrade_net(net) and net.layer[0].data_param.scale == 2


@pytest.mark.parametrize("text, words", [
    ('input: "a" input: "b" input_shape { dim: 1 }', "2 inputs, 1 input_shape and 0 input_dim"),
    ('input: "a" input_dim: [1, 2, 3]', "1 inputs, 0 input_shape and 3 input_dim"),
])
def test_inputs_need_a_shape_each(text, words):
    with pytest.raises(LayerError, match=words):
        upgrade_net(net_of(text))


def test_errors_of_files_name_file_and_line(tmp_path):
    path = tmp_path / "old.pt"
    path.write_text('name: "n"\nlayers { layer { name: "a" type: "relu" } top: "x" }\n'
                    'layers {\n  layer { name: "b" type: "tanhh" } bottom: "x" top: "x" }\n')
    with pytest.raises(LayerError, match=r"old\.pt:4: layer 'b': unknown V0 layer type 'tanhh'") as found:
        read_net_upgraded(path)
    assert (found.value.layer, found.value.file, found.value.line) == ("b", str(path), 4)
    solver = tmp_path / "solver.pt"
    solver.write_text('solver_type: ADAM type: "SGD"')
    with pytest.raises(SolverError, match=r"solver\.pt: solver_type: ADAM and type: 'SGD' are both given"):
        upgrade_solver_text(solver, solver)
    assert solver.read_text() == 'solver_type: ADAM type: "SGD"'


def test_solver_types():
    for old, new in SOLVER_TYPES.items():
        solver = parse(f"solver_type: {old}", caffe_pb2.SolverParameter())
        assert upgrade_solver(solver) and not upgrade_solver(solver)
        assert solver.type == new and not solver.HasField("solver_type")
