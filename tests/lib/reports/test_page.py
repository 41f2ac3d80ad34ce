"""Pages are one file, and names from data cannot change them."""
import math

import cv2
import numpy as np
import pytest

from reports.charts import Axis, Line, histogram, legend, line_chart
from reports.page import write_page
from reports.pictures import Box, crop, drawn, photograph
from utils.errors import UserError

HOSTILE = "<script>alert('&\"')</script>\udce9\x1b[31m"


def test_names_are_escaped(tmp_path):
    chart = line_chart([Line(HOSTILE, [(0, 1), (1, 2)])], Axis(HOSTILE), Axis())
    write_page(tmp_path / "a.html", "run.html", title=HOSTILE, subtitle="", results=[], recalls=None, hard=None,
               stages=[{"title": HOSTILE, "svg": chart, "legend": legend([Line(HOSTILE, [])]), "rate": "",
                        "validations": {"svg": chart, "legend": "", "best": HOSTILE}}])
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<script" not in text and "\x1b" not in text and text.count("&lt;script&gt;") == 9
    assert "<svg" in text and "http" not in text.replace("http-equiv", "")


def test_only_own_pages_are_replaced(tmp_path):
    content = dict(title="a", subtitle="", results=[], recalls=None, hard=None, stages=[])
    write_page(tmp_path / "a.html", "run.html", **content)
    write_page(tmp_path / "a.html", "run.html", **content)
    (tmp_path / "b.html").write_text("<p>mine")
    with pytest.raises(UserError, match="b.html: would be overwritten"):
        write_page(tmp_path / "b.html", "run.html", **content)


def test_values_that_are_not_finite_are_left_out_of_charts():
    chart = line_chart([Line("a", [(0, 1), (1, math.nan), (2, math.inf), (3, 4)])], Axis(), Axis())
    assert "nan" not in chart and "inf" not in chart and chart.count(",") == 2
    assert "nothing to draw" in line_chart([Line("a", [(0, math.nan)])], Axis(), Axis())
    assert "<circle" not in chart and line_chart([Line("a", [(1, 2)])], Axis(), Axis()).count("<circle") == 1
    assert "nothing to draw" in histogram([], Axis()) and "nothing to draw" in histogram([0.0], Axis(log=True))


@pytest.mark.parametrize("points", [[(1, 1)], [(0, 0), (0, 0)], [(1, 1e-9), (2, 1e9)], [(-5, -3), (-1, -2)]])
@pytest.mark.parametrize("log", [False, True])
def test_any_range_of_values_is_drawn(points, log):
    chart = line_chart([Line("a", points)], Axis(log=log), Axis(log=log))
    assert "<polyline" in chart or log and min(min(point) for point in points) <= 0


def test_a_histogram_counts():
    chart = histogram([1, 1, 2, 4, 4, 4], Axis(log=True), bins=3)
    assert [int(part.split("<")[0]) for part in chart.split("<title>")[1:]] == [2, 1, 3]


@pytest.mark.parametrize("shape", [(50, 100), (40, 400), (400, 1)])
def test_boxes_are_drawn_where_the_objects_are(shape, tmp_path):
    path, (height, width) = str(tmp_path / "a.png"), shape
    cv2.imwrite(path, np.full((height, width, 3), 100, np.uint8))
    picture = drawn(path, [Box([width * 3 // 4, height // 2, width - 1, height - 1])], 200)
    rows, columns = np.nonzero((picture != 100).any(axis=2))
    assert abs(columns.min() / picture.shape[1] - width * 3 // 4 / width) < 0.02 + 2 / picture.shape[1]
    assert abs(rows.min() / 200 - 0.5) < 0.02 and columns.max() >= picture.shape[1] - 4 and rows.max() >= 196


def test_pictures(tmp_path):
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, np.full((60, 90, 3), 100, np.uint8))
    for corners in ([10, 10, 30, 20], [0, 0, 89, 59], [88, 58, 89, 59], [-50, -50, 500, 500]):
        assert crop(path, corners, [Box(corners)]).startswith("data:image/jpeg;base64,")
    assert photograph(path, [Box([1, 2, 30, 40])]).startswith("data:image/jpeg;base64,")
    assert photograph(str(tmp_path / "gone.png")) == crop(str(tmp_path / "gone.png"), [0, 0, 9, 9]) == ""
