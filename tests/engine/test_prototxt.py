"""The schema and prototxts: accepted input, error messages, layout of text."""
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe.proto import caffe_pb2, scan
from caffe.proto.prototxt import (
    PrototxtError,
    find_net_file,
    line_of_layer,
    net_places,
    parse,
    read_message,
    read_net,
    read_solver,
    to_text,
    write_message,
)
from caffe.proto.scan import layer_blocks

PROTO = Path(caffe_pb2.__file__).with_name("caffe.proto")


def net_of(text):
    return parse(text, caffe_pb2.NetParameter(), "m/x.pt")


def layer_of(text):
    return net_of(f"layer {{ {text} }}").layer[0]


# ---------------------------------------------------------------------------------------------- schema
_STATEMENT = re.compile(r"""
    (?P<open>message|enum)\s+(?P<scope>\w+)\s*\{
  | (?P<label>optional|required|repeated)\s+(?P<type>[\w.]+)\s+(?P<field>\w+)\s*=\s*(?P<number>\d+)
        \s*(?:\[(?P<options>[^\]]*)\])?;
  | (?P<value>\w+)\s*=\s*(?P<ordinal>\d+);
  | (?P<close>\})""", re.VERBOSE)
_DEFAULT = re.compile(r"default\s*=\s*(\S+)")
_KINDS = {"int32": FieldDescriptor.TYPE_INT32, "int64": FieldDescriptor.TYPE_INT64,
          "uint32": FieldDescriptor.TYPE_UINT32, "float": FieldDescriptor.TYPE_FLOAT,
          "double": FieldDescriptor.TYPE_DOUBLE, "bool": FieldDescriptor.TYPE_BOOL,
          "string": FieldDescriptor.TYPE_STRING, "bytes": FieldDescriptor.TYPE_BYTES}


def declared():
    """Fields {(message, field): (number, type, default text)} and enum values {(enum, name): number} of the file."""
    fields, values, scopes = {}, {}, []
    for found in _STATEMENT.finditer(re.sub(r"//.*", "", PROTO.read_text())):
        if found["open"]:
            scopes.append(found["scope"])
        elif found["close"]:
            scopes.pop()
        elif found["field"]:
            default = _DEFAULT.search(found["options"] or "")
            fields[".".join(scopes), found["field"]] = (int(found["number"]), found["type"], default and default[1])
        else:
            values[".".join(scopes), found["value"]] = int(found["ordinal"])
    return fields, values


def compiled():
    """All message and enum descriptors of caffe_pb2, by their names without the package."""
    messages, enums = {}, dict(caffe_pb2.DESCRIPTOR.enum_types_by_name)
    for message in caffe_pb2.DESCRIPTOR.message_types_by_name.values():
        messages[message.full_name.removeprefix("caffe.")] = message
        enums |= {enum.full_name.removeprefix("caffe."): enum for enum in message.enum_types}
    return messages, enums


def _same_default(field, text):
    if field.enum_type:
        return field.enum_type.values_by_number[field.default_value].name == text
    if field.type == FieldDescriptor.TYPE_STRING:
        return field.default_value == text.strip("'\"")
    if field.type == FieldDescriptor.TYPE_BOOL:
        return field.default_value == (text == "true")
    return field.default_value == pytest.approx(float(text))


def test_generated_module_agrees_with_caffe_proto():
    fields, values = declared()
    messages, enums = compiled()
    assert {(m, f.name): f.number for m, message in messages.items() for f in message.fields} == \
        {key: number for key, (number, _, _) in fields.items()}
    assert {(e, v.name): v.number for e, enum in enums.items() for v in enum.values} == values
    for (message, name), (_, kind, default) in fields.items():
        field = messages[message].fields_by_name[name]
        named = field.message_type or field.enum_type
        assert named.full_name.endswith(f".{kind}") if named else field.type == _KINDS[kind], (message, name)
        assert field.has_default_value == (default is not None), (message, name)
        assert default is None or _same_default(field, default), (message, name)


def test_fields_of_the_rcnn_forks():
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
    assert fields["roi_pooling_param"].number == 8266711
    assert fields["smooth_l1_loss_param"].number == 8266712
    assert caffe_pb2.DropoutParameter().scale_train
    assert caffe_pb2.ROIPoolingParameter().spatial_scale == caffe_pb2.SmoothL1LossParameter().sigma == 1


def test_layer_settings_fill_the_numbers_from_100_to_148():
    numbers = set(caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_number)
    assert set(range(100, 149)) <= numbers


def test_generated_module_has_no_version_check_and_no_warning():
    assert "runtime_version" not in Path(caffe_pb2.__file__).read_text()
    code = "import importlib.util as u, sys; s = u.spec_from_file_location('p', sys.argv[1]); " \
           "s.loader.exec_module(u.module_from_spec(s))"
    subprocess.run([sys.executable, "-W", "error", "-c", code, caffe_pb2.__file__], check=True)


# ---------------------------------------------------------------------------------------------- accepted
@pytest.mark.parametrize("text, values", [
    ("1 ", [1]), ("1.", [1]), (".5", [0.5]), ("-.5", [-0.5]), ("1.f", [1]), ("2.f", [2]), ("1e-3", [1e-3]),
    ("[1, 2.5 , -3]", [1, 2.5, -3]), ("- 4", [-4]), ("-\t.25", [-0.25]), ("inf", [float("inf")]),
])
def test_numbers_as_caffe_reads_them(text, values):
    assert list(layer_of(f"loss_weight: {text}").loss_weight) == pytest.approx(values)


@pytest.mark.parametrize("text", [
    'layer { name: "ab" phase: TEST }', "layer < name: 'a' \"b\"; phase: 1, >", 'layer{name:"ab"phase:TEST}',
    'layer: { name: "\\141b" phase: TEST }  # { " comment', 'layer [ { name: "ab"\r\n phase: TEST } ]',
    '\ufefflayer { name : "ab" phase: TEST; }',
])
def test_layouts_as_caffe_reads_them(text):
    layer = net_of(text).layer[0]
    assert (layer.name, layer.phase) == ("ab", caffe_pb2.TEST)


def test_minus_inside_text_stays():
    assert layer_of("name: 'a - 1' loss_weight: - 1").name == "a - 1"


def test_parse_replaces_the_previous_content():
    net = net_of('name: "old" input: "x"')
    assert parse('name: "new"', net) is net and not net.input


def test_comments_in_any_encoding(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes('# caf\u00e9\nname: "x"'.encode("latin-1"))
    assert read_net(path).name == "x"
    path.write_bytes('name: "caf\u00e9"'.encode("latin-1"))
    with pytest.raises(PrototxtError, match=r"net\.pt:1:7: text in quotes that is not UTF-8"):
        read_net(path)


@pytest.mark.parametrize("line, column", [
    ('layer { na\xefme: "x" }', 9), ("layer { \xc3 }", 9), ("layer { phase: TR\xc4IN }", 16),
    ("force_backward: \xff", 17), ("layer { cach\xe9 { } }", 9), ("bl\xf6ck { layer { } }", 1),
    ("layer { [\xe9.b]: 1 }", 10)])
def test_words_that_are_not_utf8(tmp_path, line, column):
    (tmp_path / "net.pt").write_bytes(f"# caf\xe9\n{line}".encode("latin-1"))
    with pytest.raises(PrototxtError, match=rf"net\.pt:2:{column}: a word that is not UTF-8"):
        read_net(tmp_path / "net.pt")


def test_read_solver(tmp_path):
    path = tmp_path / "solver.pt"
    path.write_text('base_lr: 0.25\nlr_policy: "step"\nstepvalue: [1, 2]')
    solver = read_solver(path)
    assert (solver.base_lr, solver.lr_policy, list(solver.stepvalue)) == (0.25, "step", [1, 2])
    assert (solver.weights, solver.momentum2) == ([], pytest.approx(0.999))


# ---------------------------------------------------------------------------------------------- refused
@pytest.mark.parametrize("text, words", [
    ('layer {\n  tpye: "a" }', "m/x.pt:2:3: LayerParameter has no field 'tpye'; did you mean 'type'?"),
    ('layer { name: "c"\n botom: "b" }',
     "m/x.pt:2:2: layer 'c': LayerParameter has no field 'botom'; did you mean 'bottom'?"),
    ("layer { Phase: TEST }", "did you mean 'phase'?"),
    ("xyzzy: 1", "m/x.pt:1:1: NetParameter has no field 'xyzzy'"),
    ("layer { phase: TRIAN }", "x.pt:1:16: LayerParameter.phase: expected one of TRAIN, TEST, found TRIAN; "
                               "did you mean 'TRAIN'?"),
    ("layer { phase: 7 }", "expected one of TRAIN, TEST, found 7"),
    ('layers { type: "Convolution" }',
     "expected a value of LayerType, found \"Convolution\"; did you mean 'CONVOLUTION'?"),
    ("layer { include [ { phase: TRAIN }, { phase: TESTT } ] }", "NetStateRule.phase: expected one of TRAIN, TEST"),
    ("layer { type: Data }", "LayerParameter.type: expected text in quotes, found Data"),
    ("layer { pooling_param { pad: -1 } }",
     "PoolingParameter.pad: expected a whole number from 0 to 4294967295, found -1"),
    ("layer { pooling_param { pad: 1.5 } }", "found 1.5"),
    ("layer { loss_weight: abc }", "LayerParameter.loss_weight: expected a number, found abc"),
    ("force_backward: yes", "NetParameter.force_backward: expected true or false, found yes"),
    ("layer: 3", "NetParameter.layer: expected a block in braces, found 3"),
    ('layer { name "a" }', "expected ':' after 'name', found \"a\""),
    ("layer { name: }", "LayerParameter.name: expected text in quotes, found }"),
    ('layer { name: "a" name: "b" }', "layer 'a': LayerParameter takes only one 'name'"),
    ("layer { dropout_param { }\ndropout_param { } }", "LayerParameter takes only one 'dropout_param'"),
    ("layer { clip_param { } }\nlayer { clip_param { min: 1 } }", "m/x.pt:1: layer[0].clip_param.min must be given"),
    ("layer { }\nlayer { clip_param { min: 1 } }", "m/x.pt:2: layer[1].clip_param.max must be given"),
    ("layer { [a.b]: 3 }", 'Extension "a.b" not registered'),
    ("// no comment", "a comment begins with #"),
    ("name: \"a\0\"", "m/x.pt: this is a binary file, not a prototxt"),
])
def test_errors_say_where_and_what(text, words):
    with pytest.raises(PrototxtError) as caught:
        net_of(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("text, words", [
    ('layer {\n name: "a"\n convolution_param {\n  pad: 1\n}\nlayer { }',
     "m/x.pt:6:1: layer 'a': LayerParameter has no field 'layer', NetParameter has: "
     "is the block 'layer {' opened in line 1 closed where it should be?"),
    ('layer {\n name: "a"\n convolution_param {\n  pad: 1\n bottom: "x" }\n}',
     "m/x.pt:5:2: layer 'a': ConvolutionParameter has no field 'bottom', LayerParameter has: "
     "is the block 'convolution_param {' opened in line 3 closed where it should be?"),
    ('# {\nlayer {\n name: "}"\n',
     "the file ends and the block 'layer {' opened in line 2 is not closed: '}' is missing"),
    ("layer { }\n}", "m/x.pt:2:1: '}' closes nothing: there is one '}' too many, here or before"),
    ("layer { pooling_param < } }", "expected '>' for the block 'pooling_param <' opened in line 1, found '}'"),
    ('name: "a\nlayer { }', 'm/x.pt:1:7: text without a closing " on its line'),
])
def test_unbalanced_braces_and_quotes(text, words):
    with pytest.raises(PrototxtError) as caught:
        net_of(text)
    assert words in str(caught.value)


def test_error_has_its_parts():
    with pytest.raises(PrototxtError) as caught:
        net_of("\n  nam: 3")
    error = caught.value
    assert (error.file, error.line, error.column) == ("m/x.pt", 2, 3)
    assert error.reason == "NetParameter has no field 'nam'; did you mean 'name'?"


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet='layernmtp:{}<>[]"\'#1-., \n', max_size=40))
def test_any_text_is_read_or_refused_with_a_prototxt_error(text):
    try:
        net_of(text)
    except PrototxtError as error:
        assert str(error).startswith("m/x.pt")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.pt: no such file"):
        read_net(tmp_path / "gone.pt")
    with pytest.raises(FileNotFoundError, match="is a folder, not a prototxt"):
        read_message(tmp_path, caffe_pb2.NetParameter())


# ---------------------------------------------------------------------------------------------- lines of layers
def test_the_net_of_a_solver_is_found_from_here_then_around_the_solver(tmp_path, monkeypatch):
    work, models = tmp_path / "work", tmp_path / "repo" / "models" / "a"
    for folder in (work, models):
        folder.mkdir(parents=True)
    monkeypatch.chdir(work)
    solver = models / "solver.pt"
    assert find_net_file("net.pt", solver) is None
    assert net_places("net.pt", solver)[:3] == [Path("net.pt"), models / "net.pt", models.parent / "net.pt"]
    for folder, name in ((tmp_path / "repo", "models/net.pt"), (models, "net.pt"), (work, "net.pt")):
        (folder / name).write_text("")
    assert find_net_file("models/net.pt", solver) == tmp_path / "repo" / "models" / "net.pt"
    assert find_net_file("net.pt", solver) == Path("net.pt")
    assert find_net_file("net.pt", str(solver)) == Path("net.pt") and find_net_file("models/net.pt") is None
    (work / "net.pt").unlink()
    assert find_net_file("net.pt", solver) == models / "net.pt"
    assert find_net_file(str(work / "net.pt"), solver) is None      # an absolute name is tried as it is


def test_line_of_layer(tmp_path):
    path = tmp_path / "net.pt"
    path.write_text('name: "b"\nlayer { type: "X" name: "a" }\nlayer\n{\n  param { name: "w" }\n  name: \'b\' }\n'
                    'layers {\n  layer { name: "old" } }\nlayer { name: "open"')
    assert [line_of_layer(path, name) for name in ("a", "b", "old", "w", "open")] == [2, 4, 8, None, None]
    assert line_of_layer(tmp_path / "gone.pt", "a") is None
    path.write_text('layer { name: "a" }\nlayer { type: "X" }\nlayer { name: "a" }')
    assert [line_of_layer(path, "a", number) for number in range(3)] == [1, 3, None]
    assert line_of_layer(path, "") == 2


def test_a_file_is_scanned_once_for_the_lines_of_its_layers(tmp_path, monkeypatch):
    scans = []
    monkeypatch.setattr(scan, "layer_blocks", lambda text: scans.append(text) or layer_blocks(text))
    path = tmp_path / "net.pt"
    path.write_text("".join(f'layer {{ name: "scanned {number}" }}\n' for number in range(5)))
    assert [line_of_layer(path, f"scanned {number}") for number in range(5)] == [1, 2, 3, 4, 5] and len(scans) == 1
    path.write_text('\nlayer { name: "scanned 0" }')
    assert line_of_layer(path, "scanned 0") == 2


# ---------------------------------------------------------------------------------------------- writing
TEXT = """\
name: "net"
layer {
  name: "conv"
  type: "Convolution"
  bottom: "data"
  top: "conv"
  param { lr_mult: 1 decay_mult: 0.1 }
  convolution_param {
    num_output: 64
    pad: 1
    kernel_size: 3
    weight_filler { type: "gaussian" std: 0.01 }
    bias_filler { type: "constant" }
  }
}
layer {
  name: "python"
  type: "Python"
  include { phase: TRAIN stage: "it's" }
  include { }
  python_param { module: "a" layer: "B" param_str: "'stride': 16\\n\\"q\\" \\\\'" }
}
"""


def test_text_is_laid_out_as_people_write_it():
    assert to_text(net_of(TEXT)) == TEXT


def test_text_of_every_kind_of_value_round_trips():
    net = net_of("""force_backward: true input_dim: -3
        layer { blobs { data: [0.1, 1e-30, -1e30, 16777216, nan, inf] double_data: [0.1, 1e-300] } }
        layer { name: "\\303\\251\\001\\t" loss_param { normalization: NONE } }""")
    assert to_text(net_of(to_text(net))) == to_text(net)
    del net.layer[0].blobs[0].data[4]        # NaN is not equal to itself
    assert net_of(to_text(net)) == net
    datum = caffe_pb2.Datum(data=b"\x00\xff'\"", label=3)
    assert parse(to_text(datum), caffe_pb2.Datum()) == datum


def test_write_message_replaces_the_file_in_one_step(tmp_path):
    path = tmp_path / "net.pt"
    path.write_text("old")
    write_message(path, net_of(TEXT))
    assert path.read_text() == TEXT and list(tmp_path.iterdir()) == [path]


def test_write_message_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.pt"
    path.write_text("old")
    with pytest.raises(AttributeError):
        write_message(path, None)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
