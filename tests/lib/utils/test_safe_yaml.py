"""YAML that expands too much, contains itself or holds values that cannot be read is refused at once."""
import pytest
import yaml

from datasets.factory import get_imdb
from datasets.source import DatasetError
from fast_rcnn.config import ConfigError, file_changes
from utils.layer_params import parse_param_str
from utils.safe_yaml import load_yaml


def bomb(levels=9):
    """A list of 10 ** levels values."""
    text = "x"
    for level in range(levels):
        text = f"&n{level} [{text}" + (", x" if level == 0 else f", *n{level - 1}") * 9 + "]"
    return text


REFUSED = {"bomb": (bomb(), "aliases expand to more than"), "itself": ("&a [*a]", r"line \d: \*a contains itself"),
           "deep": ("[" * 10_000, "nested more than 50 deep"), "key": ("&a {b: {c: *a}}", "contains itself"),
           "merge": ("&a {<<: *a}", "contains itself"), "twice": ("[{a: 1, a: 2}]", "line 1: the key a is given twice")}


@pytest.mark.parametrize("name", REFUSED)
def test_wherever_yaml_is_read(tmp_path, name):
    text, message = REFUSED[name]
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)
    (tmp_path / "a.yml").write_text(f"classes: {text}\n")
    with pytest.raises(DatasetError, match=f"a.yml: not readable as YAML: .*{message}"):
        get_imdb(str(tmp_path / "a.yml"))
    (tmp_path / "cfg.yml").write_text(f"TRAIN: {{SCALES: {text}}}\n")
    with pytest.raises(ConfigError, match=f"cfg.yml: cannot be read as YAML: .*{message}"):
        file_changes(tmp_path / "cfg.yml")
    with pytest.raises(ValueError, match=f"is not YAML: .*{message}"):
        parse_param_str(f"'scales': {text}")


@pytest.mark.parametrize("text", ["2001-99-99", "9" * 5000, "0x" + "f" * 5000, "1" + ":59" * 3000,
                                  "!!int '0x" + "f" * 5000 + "'", "!!bool x", "!!timestamp x", "!!int ''",
                                  "!!python/name:os.x", "*b", "a: b: c", "\x1b"])
def test_values_that_cannot_be_read(text):
    with pytest.raises(yaml.YAMLError):
        load_yaml(f"a: {text}")


def test_long_text_of_digits_in_quotes():
    assert load_yaml(f"'{'9' * 5000}'") == "9" * 5000


def test_ordinary_aliases():
    assert load_yaml("a: &x [1, 2]\nb: *x\nc: {<<: &y {d: 1}, e: *x}\nf: *y") == {
        "a": [1, 2], "b": [1, 2], "c": {"d": 1, "e": [1, 2]}, "f": {"d": 1}}
    assert len(load_yaml(str(list(range(30_000))))) == 30_000


def test_settings_of_any_encoding(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "cfg.yml").write_bytes("EXP_DIR: é\r\n".encode(encoding))
        assert file_changes(tmp_path / "cfg.yml") == {"EXP_DIR": "é"}
    (tmp_path / "cfg.yml").write_bytes(b"EXP_DIR: \xe9\n")
    with pytest.raises(ConfigError, match="cfg.yml:1: not text in utf-8"):
        file_changes(tmp_path / "cfg.yml")


@pytest.mark.parametrize(("text", "message"), [
    ("a: [1, 2\nb: 3",
     "line 2, column 2: expected ',' or ']', but got ':', while parsing a flow sequence from line 1 on"),
    ("a: 1\n b: 2", "line 2, column 3: mapping values are not allowed here"),
    ("a: *q", "line 1, column 4: found undefined alias 'q'"),
    ("a: \0", r"character 4 is '\x00': special characters are not allowed")])
def test_a_syntax_error_is_one_line_with_its_place(text, message):
    with pytest.raises(yaml.YAMLError) as found:
        load_yaml(text)
    assert str(found.value) == message
