"""User modules named in settings."""
import sys

import pytest

from utils.errors import is_user_error
from utils.user_modules import ImportsError, import_modules


@pytest.fixture(autouse=True)
def clean_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_modules_of_a_folder_may_import_one_another_and_run_once(tmp_path):
    (tmp_path / "first_of_mine.py").write_text("import second_of_mine\nsecond_of_mine.runs.append(1)\n")
    (tmp_path / "second_of_mine.py").write_text("runs = []\n")
    (tmp_path / "package_of_mine").mkdir()
    (tmp_path / "package_of_mine" / "part.py").write_text("")
    for _ in range(2):
        import_modules(["first_of_mine", "package_of_mine.part"], str(tmp_path))
    assert sys.modules["second_of_mine"].runs == [1] and "package_of_mine.part" in sys.modules


def test_without_a_folder_modules_are_on_the_path(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "module_on_path.py").write_text("")
    import_modules(["module_on_path"])
    assert "module_on_path" in sys.modules


@pytest.mark.parametrize("name", ["a/b", "b.py/", "../b", "1b", "a-b", "", "a..b", ".b", "a b"])
def test_paths_are_not_names(tmp_path, name):
    with pytest.raises(ImportsError, match="IMPORTS: .*: expected names of modules, such as my_module"):
        import_modules([name], str(tmp_path))


def test_a_missing_module_is_reported_with_where_it_was_searched(tmp_path):
    with pytest.raises(ImportsError) as caught:
        import_modules(["nowhere_to_be_found"], str(tmp_path))
    assert is_user_error(caught.value)
    assert str(caught.value) == (f"IMPORTS: there is no module nowhere_to_be_found in {tmp_path}, the folder of the "
                                 "settings, or on PYTHONPATH")
    with pytest.raises(ImportsError, match="there is no module nowhere_to_be_found on PYTHONPATH$"):
        import_modules(["nowhere_to_be_found.part"])


@pytest.mark.parametrize("text, reason", [
    ("\n1 / 0\n", "2: ZeroDivisionError: division by zero"),
    ("def f():\n    raise ValueError('no')\nf()\n", "2: ValueError: no"),
    ("import json\n\njson.loads('{')\n", "3: JSONDecodeError: Expecting property name"),
    ("import nowhere_to_be_found\n", "1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
    ("from json import nothing\n", "1: ImportError: cannot import name 'nothing' from 'json'"),
    ("x = \n", "1: SyntaxError: invalid syntax"),
    ("raise SystemExit('gone')\n", "1: SystemExit: gone"),
])
def test_an_exception_of_the_users_module_names_file_and_line(tmp_path, text, reason):
    (tmp_path / "broken_one.py").write_text(text)
    with pytest.raises(ImportsError) as caught:
        import_modules(["broken_one"], str(tmp_path))
    assert str(caught.value).startswith(f"IMPORTS: {tmp_path}/broken_one.py:{reason}")


def test_a_name_that_is_taken_is_reported(tmp_path):
    (tmp_path / "json.py").write_text("")
    with pytest.raises(ImportsError, match=f"{tmp_path}/json.py: another module has the name json, .*: rename yours"):
        import_modules(["json"], str(tmp_path))
