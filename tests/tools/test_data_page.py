"""The page of tools/look_at_data.py."""
import base64
import os

import cv2
import numpy as np
import pytest
from test_look_at_data import box_xml, data, run  # noqa: F401  (fixtures)

from datasets.factory import get_imdb
from datasets.objects import ObjectTable
from fast_rcnn.config import cfg, cfg_from_list
from reports.augmentation import augmentation_in_words, augmented_pictures
from reports.data_page import pictures_to_show

pytestmark = pytest.mark.usefixtures("default_settings")


def test_the_page(run, data, tmp_path):     # noqa: F811
    status, printed, _ = run("look_at_data", "--imdb", data, "--net_name", "Tiny", "--output", tmp_path / "look")
    assert status == 0 and f"Page: {tmp_path}/look/data.html" in printed
    page = (tmp_path / "look" / "data.html").read_text()
    assert "chip" in page and "board" in page and "tools/make_models.py" in page and "0.png" in page
    assert "Augmented training images" not in page
    assert page.count("<svg") == 4 and page.count("data:image/jpeg") > 11
    assert cv2.imread(str(tmp_path / "look" / "sheet.png")).shape[0] > 300


def test_photographs_as_training_sees_them(run, data, tmp_path):    # noqa: F811
    status, _, _ = run("look_at_data", "--imdb", data, "--net_name", "Tiny", "--output", tmp_path / "look", "--set",
                       "TRAIN.CROP", "0.5", "TRAIN.SCALES", "(200, 300)", "TRAIN.USE_UPSIDE_DOWN", "True")
    assert status == 0
    page = (tmp_path / "look" / "data.html").read_text()
    part = page[page.index("Augmented training images"):page.index("<h2>Classes")]
    settings = "TRAIN.USE_FLIPPED True, TRAIN.USE_UPSIDE_DOWN True, TRAIN.CROP 0.5, TRAIN.SCALES [200, 300]"
    assert f"with {settings}</p>" in part
    assert part.count("data:image/jpeg") == 12 and "mirrored, upside down" in part


def test_the_pictures_are_those_of_minibatches(data):   # noqa: F811
    imdb = get_imdb(str(data))
    cfg_from_list(["TRAIN.SCALES", "(150,)", "TRAIN.USE_FLIPPED", "False", "TRAIN.SCALE_JITTER", "0.2"])
    assert augmentation_in_words(cfg.TRAIN) == "TRAIN.SCALE_JITTER 0.2"
    pictures = augmented_pictures(imdb, [3, 5], cfg)
    images = [cv2.imdecode(np.frombuffer(base64.b64decode(each["picture"].split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
              for each in pictures]
    sides = np.array([[int(side) for side in each["note"].split(" x ")] for each in pictures])
    assert [each["title"] for each in pictures] == [os.path.basename(imdb.image_path_at(row)) for row in (3, 5)
                                                    for _ in range(3)]
    assert (sides[:, 1] >= 119).all() and (sides[:, 1] <= 181).all() and len(set(sides[:, 1])) > 3
    heights = np.array([image.shape[0] for image in images])
    np.testing.assert_allclose(heights / heights.max(), sides[:, 1] / sides[:, 1].max(), atol=0.01)


def test_hostile_names_and_problems(run, data, tmp_path):   # noqa: F811
    name = "&lt;img src=x onerror=alert(1)&gt;"
    (data / "0.xml").write_text(f"<annotation>{box_xml(name, 5, 5, 40)}{box_xml('board', 380, 5, 40)}"
                                f"{box_xml('chip', 600, 5, 9)}</annotation>")
    status, _, _ = run("look_at_data", "--imdb", data, "--net_name", "Tiny", "--output", tmp_path / "look")
    page = (tmp_path / "look" / "data.html").read_text()
    assert status == 0 and "<img src=x" not in page and "&lt;img src=x" in page
    problems = page[page.index("Problems found"):]
    assert "box clipped" in problems and "box dropped" in problems and problems.count("data:image/jpeg") == 1


def test_images_that_cannot_be_decoded_have_no_sheet(run, data, tmp_path):   # noqa: F811
    for image in data.glob("*.png"):
        image.write_bytes(image.read_bytes()[:40])      # the header says the size
    status, _, _ = run("look_at_data", "--imdb", data, "--net_name", "Tiny", "--output", tmp_path / "look")
    page = (tmp_path / "look" / "data.html").read_text()
    assert status == 0 and "0.png ends early" in page and "no picture" in page
    assert not (tmp_path / "look" / "sheet.png").exists()


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
