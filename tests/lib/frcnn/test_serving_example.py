"""The service of docs/python.md: photographs get their objects, anything else status 400 with our message."""
import io
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from frcnn_runs import make_run

import frcnn

PAGE = Path(__file__).resolve().parents[3] / "docs" / "python.md"


class HTTPException(Exception):
    def __init__(self, status_code, detail):
        self.status_code, self.detail = status_code, detail


class FastAPI:
    """What the example uses of FastAPI: handlers by their path."""

    def __init__(self):
        self.handlers = {}

    def post(self, path):
        return lambda handler: self.handlers.setdefault(path, handler)


@pytest.fixture
def detect(tmp_path, monkeypatch):
    """The example's handler, with a detector of random weights, as a function of a file's content and a threshold."""
    fastapi = ModuleType("fastapi")
    vars(fastapi).update(FastAPI=FastAPI, HTTPException=HTTPException, UploadFile=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "fastapi", fastapi)
    (tmp_path / "output").mkdir()
    make_run(tmp_path / "output" / "demo")
    monkeypatch.chdir(tmp_path)
    source = re.search(r"```python\n(import frcnn\nfrom fastapi.*?)```", PAGE.read_text(), re.DOTALL)[1]
    assert len(source.splitlines()) <= 20
    names = {}
    exec(compile(source, "serve.py", "exec"), names)
    handler = names["app"].handlers["/detect"]
    return lambda content, *thresh: handler(UploadedFile(content), *thresh)


def UploadedFile(content):
    return SimpleNamespace(file=io.BytesIO(content), filename="street.png")


def test_the_service(detect, photos):
    photo = photos / "im0.png"
    answer, wanted = detect(photo.read_bytes(), 0.1), frcnn.load("output/demo")(photo, 0.1)
    assert answer == {**wanted.as_json(), "image": "street.png"} and answer["objects"] and answer["width"] == 160
    for content in (b"", b"%PDF-1.7", photo.read_bytes()[:40]):
        with pytest.raises(HTTPException) as caught:
            detect(content)
        assert (caught.value.status_code, caught.value.detail) == (400, "image data: the image is missing or broken")
