"""Trained detectors: load, run on images and videos, draw, evaluate, export."""
from __future__ import annotations

import contextlib
import copy
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from commands.data_set import (
    DECODED,
    check_has_classes,
    check_images,
    check_own_results,
    check_results,
    claim_results,
    find_imdb,
)
from commands.detector import DetectorFiles, check_makes_proposals, class_names, detector_of_run
from commands.onnx_file import onnx_file, write_onnx
from commands.options import check_count, check_thresh, choose_device, quiet_caffe, use_device, writable_folder
from datasets.evaluation import Evaluation
from fast_rcnn import config
from fast_rcnn.cfg_checks import check_cfg
from fast_rcnn.detector_record import RUN_RECORD, DetectorRecord, find_record, run_record
from fast_rcnn.net_settings import settings_of
from fast_rcnn.test import DetectionSettings, detect_together, test_net
from frcnn.data import Dataset
from frcnn.errors import one_exception
from frcnn.photographs import Photograph, batches, is_one_photograph, photographs
from frcnn.pictures import Picture
from frcnn.results import Results
from frcnn.videos import frames, open_video
from onnx_export.detector import ExportSettings
from utils.errors import UserError
from utils.images import naming, read_image
from utils.timer import Timer
from utils.user_modules import import_modules

Image = str | os.PathLike | bytes | np.ndarray
# Settings, device and precision are global to the process, so detectors take turns
_IN_USE = threading.RLock()


@one_exception
def load(detector: str | os.PathLike, weights: str | os.PathLike | None = None, *, device: str | int | None = None,
         classes: Sequence[str] | None = None, cfg: str | os.PathLike | None = None,
         settings: Mapping[str, Any] | None = None) -> Detector:
    """Load the detector of a run, of a caffemodel, or of a test net's prototxt with `weights`.

    detector  the output folder of tools/train_faster_rcnn_alt_opt.py, a caffemodel in it or, with `weights`, a
              prototxt. Settings and class names come from the record beside it
    device    'cpu', or the number of a GPU; default: GPU 0 if there is one
    classes   class names without the background; required if there is no record, which they otherwise rename
    cfg       YAML file of settings, such as a run's test_cfg.yml; they override those of the record
    settings  further settings by full key: {'TEST.SCALES': (400,)}; they override `cfg`
    Raises UserError.
    """
    files = _files(Path(detector), weights)
    names = class_names(files, classes)
    if not names:
        raise UserError(f"{files.weights}: no record beside it has its class names: pass classes=[...], without the "
                        "background")
    if not isinstance(settings or {}, Mapping):
        raise UserError(f"settings: expected a dictionary, as {{'TEST.NMS': 0.4}}, found {settings!r}")
    changes = config.file_changes(cfg) if cfg else {}
    more = config.checked_changes(settings or {})
    with _settings(config.make_settings(files.settings, changes, more)):
        check_cfg()
        import_modules(config.cfg.IMPORTS, config.cfg.IMPORTS_DIR)
        check_makes_proposals(files)
        with quiet_caffe():
            return Detector(files, names, _gpu(device))


def _files(detector: Path, weights: str | os.PathLike | None) -> DetectorFiles:
    if weights is not None:
        for path in (detector, Path(weights)):
            if not path.is_file():
                raise UserError(f"{path}: there is no such file")
        return DetectorFiles(str(detector), str(weights), find_record(weights, detector))
    if detector.is_dir():
        return detector_of_run(detector)
    if not detector.is_file():
        raise UserError(f"{detector}: there is no such file or folder")
    return _files_of_model(detector)


def _files_of_model(model: Path) -> DetectorFiles:
    """A caffemodel with the test net of its record, or of the run in its folder."""
    record: DetectorRecord | None = find_record(model, model)
    net = record and record.net
    if not net and (model.parent / RUN_RECORD).is_file():
        net = run_record(model.parent).net
    if not net:
        raise UserError(f"{model}: no record beside it names its test net: call load('test.pt', '{model.name}')")
    return DetectorFiles(str(net), str(model), record)


def _gpu(device: str | int | None) -> int | None:
    """Number of a GPU, None for the CPU. Raises UserError if there is no such device."""
    word = "0" if device == "cuda" else str(device).removeprefix("cuda:")
    if device not in (None, "cpu") and not word.isdecimal():
        raise UserError(f"device={device!r}: expected 'cpu', or the number of a GPU")
    try:
        return choose_device(int(word) if word.isdecimal() else None, device == "cpu")
    except UserError as error:
        raise UserError(str(error).replace("--gpu ", "device=", 1).replace("--gpu", "device")) from None


@contextlib.contextmanager
def _settings(settings: config.Config) -> Iterator[None]:
    """Apply settings to `cfg` inside the block, and restore it afterwards; other threads wait."""
    with _IN_USE:
        before = copy.deepcopy(config.cfg)
        config.set_cfg(settings)
        try:
            yield
        finally:
            config.set_cfg(before)


class Detector:
    """A trained net with its settings, class names and device: `detector(image)`.

    Detectors in one process affect neither one another nor `cfg`. Calls from several threads run one at a time. Caffe's
    mode and precision remain those of the last call.

    classes   class names, without the background
    settings  all settings, frozen
    gpu       number of the GPU; None: the CPU
    """

    def __init__(self, files: DetectorFiles, names: Sequence[str], gpu: int | None, of: str = "the detector",
                 hint: str = "") -> None:
        """Load the net with the current settings in `cfg`, which are bound to it.

        names  class names, background first
        of     where the names come from, for messages
        hint   what to do if the names do not match the net, for messages
        Raises UserError, and caffe's errors for bad files.
        """
        with _IN_USE:
            use_device(gpu)
            self.net = files.load(len(names), of, hint, needs_rpn=True)
            self.settings = copy.deepcopy(config.cfg).freeze()
        self.files, self.gpu = files, gpu
        self._names = tuple(names)

    @property
    def classes(self) -> tuple[str, ...]:
        return self._names[1:]

    @overload
    def __call__(self, image: np.ndarray, thresh: float = 0.5, batch: int = 1) -> Results: ...

    @overload
    def __call__(self, image: Any, thresh: float = 0.5, batch: int = 1) -> Results | list[Results]: ...

    @one_exception
    def __call__(self, image: Any, thresh: float = 0.5, batch: int = 1) -> Results | list[Results]:
        """Detect the objects that score above `thresh`.

        image    a file; its content as bytes; an array (height, width, 3) uint8 BGR, as cv2.imread returns; a folder or
                 a pattern such as 'photos/*.jpg'; or a list of these
        batch    maximum number of images per forward pass; consecutive images of equal size are batched
        returns  `Results` for a single image, otherwise a list of them
        Raises UserError naming the image.
        """
        found = list(self._detect_all(photographs(image), thresh, batch))
        return found[0] if is_one_photograph(image) else found

    def stream(self, video: str | os.PathLike | int, thresh: float = 0.5, batch: int = 1) -> Iterator[Results]:
        """Detect the objects in each frame of a video, or of the camera with this number. Raises UserError.

        batch  frames per forward pass; results are delayed until a batch is full
        """
        with open_video(video) as capture:
            yield from self._detect_all(((frame, "") for frame in frames(capture)), thresh, batch)

    def detect_in_file(self, path: Path, thresh: float) -> Results:
        """Detect the objects in a file. Unlike a call, raises ImageError and OSError as they are."""
        return next(self._detect_all([(read_image(str(path)), str(path))], thresh, 1))

    def _detect_all(self, images: Iterable[Photograph], thresh: float, most: int) -> Iterator[Results]:
        """Detect the objects in images, in order, grouped by `batches`."""
        most = check_count(most, 1, "batch")
        check_thresh(thresh, self.settings, "thresh")
        for batch in batches(images, most):
            path = batch[0][1]
            with naming(path) if path else contextlib.nullcontext():
                found = self._detect(batch, thresh)
            yield from found

    def _detect(self, batch: Sequence[Photograph], thresh: float) -> list[Results]:
        """Detect the objects in images of one size, in one forward pass."""
        timer, names = Timer(), self._names
        timer.tic()
        with self._in_use():
            found = detect_together(self.net, [pixels for pixels, _ in batch], len(names), thresh)
        seconds = timer.toc(average=False) / len(batch)
        return [Results(pixels, path, names, per_class, thresh, best, seconds)
                for (pixels, path), (per_class, best) in zip(batch, found, strict=True)]

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """Activate this detector's settings and device, for this thread alone.

        The net has its settings bound to it, but users' layers may read cfg in `forward`, as py-faster-rcnn's do.
        """
        with _settings(self.settings):
            use_device(self.gpu)
            yield

    @one_exception
    def draw(self, image: Image, thresh: float = 0.5) -> Picture:
        """Draw the boxes of the objects that score above `thresh` into one image."""
        found = self(image, thresh)
        if not isinstance(found, Results):
            raise UserError("draw takes one image; for several: [found.draw() for found in detector(images)]")
        return found.draw()

    @one_exception
    def evaluate(self, data: str | os.PathLike | Dataset, output: str | os.PathLike | None = None,
                 thresh: float = 0.05, max_per_image: int = 100) -> Evaluation:
        """Compute average precisions on a data set, as tools/test_net.py does.

        data    a `Dataset`, or its name or path: 'data/mine:test'
        output  folder for the detections and evaluation.json; default: they are not kept
        max_per_image  maximum number of detections per image; 0: no limit
        Raises UserError.
        """
        name = data.location if isinstance(data, Dataset) else os.fspath(data)
        max_per_image = check_count(max_per_image, 0, "max_per_image")
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._in_use())
            check_thresh(thresh, self.settings, "thresh")
            imdb = find_imdb(name, "evaluate", self._names)
            check_has_classes(imdb, "evaluate", name, self._names)
            folder = writable_folder(output or stack.enter_context(tempfile.TemporaryDirectory()), "output")
            check_results(folder, imdb)
            check_own_results(folder)
            check_images(imdb, "evaluate", name, folder / DECODED)
            claim_results(folder, imdb)
            return test_net(self.net, imdb, max_per_image, thresh, output_dir=folder, classes=self._names)

    @one_exception
    def export(self, path: str | os.PathLike | None = None, preprocess: bool = False, thresh: float = 0.05,
               max_per_image: int = 100, opset: int | None = None) -> Path:
        """Write the detector as one ONNX model, as tools/export_detector.py does; returns its path.

        path           file to write; default: the caffemodel's name with .onnx
        preprocess     whether the model's input is an image (height, width, 3) uint8 BGR instead of the net's inputs
        thresh         minimum score of a detection
        max_per_image  maximum number of detections per image; 0: no limit
        opset          version of ONNX's operator set; default: 18
        Raises UserError, also if the package onnx is missing.
        """
        with self._in_use():
            check_thresh(thresh, self.settings, "thresh")
            max_per_image = check_count(max_per_image, 0, "max_per_image")
            opset = None if opset is None else check_count(opset, 1, "opset")
            file = onnx_file(self.files, path, "path")
            write_onnx(self.net, file, self._names, ExportSettings(thresh, max_per_image, preprocess, opset))
        return file

    def __repr__(self) -> str:
        where = "CPU" if self.gpu is None else f"GPU {self.gpu}"
        size = settings_of(self.net, DetectionSettings.from_cfg(self.settings)).images.warp
        images = f"images of {size[1]} x {size[0]}" if size else f"TEST.SCALES {list(self.settings.TEST.SCALES)}"
        return f"Detector of {', '.join(self.classes)}: {self.files.weights}, {images}, on the {where}"
