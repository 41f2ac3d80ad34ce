"""The page of tools/look_at_data.py."""
import cv2
import numpy as np
import pytest
from test_look_at_data import box_xml, data, run  # noqa: F401  (fixtures)

from datasets.objects import ObjectTable
from reports.data_page import pictures_to_show

pytestmark = pytest.mark.usefixtures("default_settings")


def test_the_page(run, data, tmp_path):     # noqa: F811
    status, printed, _ = run("look_at_data", "--imdb", data, "--net_name", "Tiny", "--output", tmp_path / "look")
    assert status == 0 and f"Page: {tmp_path}/look/data.html" in printed
    page = (tmp_path / "look" / "data.html").read_text()
    assert "chip" in page and "board" in page and "tools/make_models.py" in page and "0.png" in page
    assert page.count("<svg") == 4 and page.count("data:image/jpeg") > 11
    assert cv2.imread(str(tmp_path / "look" / "sheet.png")).shape[0] > 300


def test_hostile_names_and_problems(run, data, tmp_path):   # noqa: F811
    name = "&lt;img src=x onerror=alert(1)&gt;"
    (data / "0.xml").write_text(f"<annotation>{box_xml(name, 5, 5, 40)}{box_xml('board', 380, 5, 40)}"
                                f"{box_xml('chip', 600, 5, 9)}</annotation>")
    status, _, _ = run("look_at_data", "--imdb", data, "--net_name", "Tiny", "--output", tmp_path / "look")
    page = (tmp_path / "look" / "data.html").read_text()
    assert status == 0 and "<img src=x" not in page and "&lt;img src=x" in page
    problems = page[page.index("Problems found"):]
    assert "box clipped" in problems and "box dropped" in problems and problems.count("data:image/jpeg") == 1


def test_files_of_the_user_stay(run, data, tmp_path):   # noqa: F811
    for name in ("sheet.png", "data.html"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_text("mine")
        status, _, errors = run("look_at_data", "--imdb", data, "--net_name", "Tiny", "--output", folder)
        assert status == 2 and "would be overwritten" in errors and [*folder.iterdir()] == [folder / name]


def test_the_sheet_has_every_class():
    images = np.array([*range(100), 37])
    objects = ObjectTable(np.zeros((101, 4)), np.array([1] * 100 + [2]), images, np.ones((100, 2)))
    shown = pictures_to_show(objects, 6)
    assert len(shown) == 6 and {0, 37} <= set(shown) and shown == sorted(shown)
    assert pictures_to_show(objects, 500) == list(range(100))
