"""docs/layers.md is up to date, and its generator reads the catalogue and the schema correctly."""
from pathlib import Path

import pytest

from caffe import layer_docs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "layers.md"


def section(text, name):
    return text.split(f"\n## {name}\n")[1].split("\n## ")[0]


def test_the_committed_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == layer_docs.document(), \
        "a layer or the schema changed: run `python -m caffe.layer_docs docs/layers.md`"


def test_every_layer_has_a_section_and_a_summary():
    text = layer_docs.document()
    for name in layer_docs.catalogue():
        assert f"\n## {name}\n" in text and section(text, name).split("```")[1].removeprefix("text\n").strip()


def test_only_code_keeps_its_characters_in_a_table():
    assert layer_docs.table_cell("a_b * `c_d * e | f` < g") == "a\\_b \\* `c_d * e \\| f` &lt; g"


def test_a_section_lists_bottoms_tops_and_settings():
    text = section(layer_docs.document(), "SoftmaxWithLoss")
    assert "Bottoms: 2; tops: 1 to 2 (added if none is named); no gradient for bottom 1." in text
    assert "`loss_param`: see [LossParameter](#lossparameter)." in text
    text = section(layer_docs.document(), "Pooling")
    assert "Bottoms: 1; tops: 1 to 2." in text
    assert "| `pool` | `MAX`, `AVE`, `STOCHASTIC` | `MAX` |  |" in text
    assert "| `global_pooling` | bool | false | the kernel is the whole bottom |" in text
    assert "tops: as many as bottoms" in section(layer_docs.document(), "Convolution")


@pytest.mark.parametrize("name, fields", [("Convolution", ["convolution_param"]), ("DepthwiseConvolution",
                         ["convolution_param"]), ("ROIAlign", ["roi_pooling_param", "roi_align_param"]),
                         ("Data", ["transform_param", "data_param"]), ("AbsVal", []), ("LSTM", ["recurrent_param"])])
def test_settings_of_a_layer(name, fields):
    assert sorted(layer_docs.settings_of(name)) == sorted(fields)


def test_comments_of_a_proto():
    text = """
        message A {   // not of a field
          optional int32 a = 1 [default = 2];  // of a
          // above b
          // in two lines
          optional int32 b = 2;
          optional int32 c = 3;

          optional int32 d = 4;
          // of the field behind its enum
          enum E { X = 0; }
          optional E e = 5;
        }"""
    text = text.replace("enum E { X = 0; }", "enum E {\n X = 0;  // no field\n }")
    assert layer_docs.proto_comments(text) == {
        ("A", "a"): "of a", ("A", "b"): "above b in two lines", ("A", "c"): "above b in two lines", ("A", "d"): "",
        ("A", "e"): "of the field behind its enum"}


def test_command(tmp_path, capsys):
    assert layer_docs.main([str(tmp_path / "layers.md")]) == 0
    assert (tmp_path / "layers.md").read_text(encoding="utf-8") == layer_docs.document()
    assert layer_docs.main([]) == 0 and capsys.readouterr().out == layer_docs.document()
    assert layer_docs.main(["--help"]) == 2 and "usage" in capsys.readouterr().err
