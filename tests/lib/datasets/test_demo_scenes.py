"""The demo data set never replaces anything."""
import json
import os

import pytest

from datasets.demo_scenes import make_demo_dataset
from utils.files import DamagedFileError


def test_a_data_set_is_made_once_and_atomically(tmp_path):
    folder = make_demo_dataset(tmp_path / "demo", num_train=1, num_test=1)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert make_demo_dataset(folder, num_train=1, num_test=1) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert os.listdir(tmp_path) == ["demo"]


def test_a_data_set_of_another_recipe_is_refused_and_kept(tmp_path):
    folder = make_demo_dataset(tmp_path / "demo", num_train=1, num_test=1)
    (folder / "mine.txt").write_text("mine")
    before = {path for path in folder.rglob("*")}
    with pytest.raises(FileExistsError, match="holds a demo data set of another recipe, .*'num_train': 1"):
        make_demo_dataset(folder, num_train=2, num_test=1)
    assert {path for path in folder.rglob("*")} == before


def test_other_folders_are_left_alone(tmp_path):
    partial = tmp_path / "demo.partial"
    partial.mkdir()
    (partial / "mine.txt").write_text("mine")
    (tmp_path / "demo").mkdir()
    make_demo_dataset(tmp_path / "demo", num_train=1, num_test=1)      # an empty folder is used
    assert (partial / "mine.txt").read_text() == "mine"
    with pytest.raises(FileExistsError, match="neither an empty folder nor a demo"):
        make_demo_dataset(partial, num_train=1, num_test=1)
    with pytest.raises(FileExistsError, match="neither an empty folder nor a demo"):
        make_demo_dataset(partial / "mine.txt", num_train=1, num_test=1)


@pytest.mark.parametrize("text", ["{", json.dumps([1])])
def test_a_damaged_recipe_is_named(tmp_path, text):
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(DamagedFileError, match="demo.json: damaged"):
        make_demo_dataset(tmp_path)
