#!/usr/bin/env python3
"""Detects objects in photographs, videos and camera streams and draws them; needs no display."""
from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _init_paths  # noqa: F401  # first: reports packages that are not installed

# isort: split
from commands.detector import DetectorFiles, add_detector_options, class_names, find_proposing_detector
from commands.options import (
    add_cfg_options,
    add_device_options,
    device_of,
    make_parser,
    positive,
    tool,
    writable_folder,
)
from frcnn.detector import Detector
from frcnn.photographs import image_files
from frcnn.results import Results
from frcnn.tables import Row, for_json, rows, write_csv, write_txt
from frcnn.videos import VIDEO_SUFFIXES, VideoError, frame_rate, frames, open_video, video_writer
from utils.draw import write_image
from utils.errors import UserError, message_of
from utils.files import atomic_path, read_record, write_json
from utils.image_header import IMAGE_SUFFIXES
from utils.images import ImageError
from utils.text import listing
from utils.timer import Timer

EXAMPLES = """\
  tools/demo.py --run output/faster_rcnn_alt_opt/voc_2007_trainval/VGG16 photo.jpg holiday/ 'more/**/*.jpg'
  tools/demo.py --def models/VGG16/faster_rcnn_alt_opt/faster_rcnn_test.pt --net VGG16_final.caffemodel photo.jpg
  tools/demo.py --run output/demo street.mp4 --csv --json
      writes street.mp4 with boxes drawn, and street.frames.csv with the objects of each frame
  tools/demo.py --run output/demo 0 --frames 500
      reads camera 0 until 500 frames or Ctrl-C
"""
PICTURES = "pictures.json"      # lists the files in the output folder that this tool wrote
JSON, CSV = "detections.json", "detections.csv"

Source = Path | int     # the path of a photograph or video, or the number of a camera


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add_detector_options(result)
    add = result.add_argument
    add("images", nargs="+", metavar="IMAGE", help="photograph, video, folder of them, quoted glob pattern, or number "
                                                   "of a camera")
    add("--output", metavar="DIR", help="folder for the pictures (default: pictures in --run, else output/pictures)")
    add("--thresh", type=float, default=0.5, help="minimum score of a detection (default: 0.5)")
    add("--json", action="store_true", help=f"also write the detections to {JSON}")
    add("--csv", action="store_true", help=f"also write the detections to {CSV}")
    add("--txt", action="store_true",
        help="also write a text file for each photograph, with a line for each detection: label score x1 y1 x2 y2")
    add("--frames", type=positive, metavar="N", help="stop after N frames of each video or camera")
    add_device_options(result)
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    files = find_proposing_detector(args)
    sources = find_sources(args.images)
    output = writable_folder(args.output or Path(args.run or "output", "pictures"), "--output")
    targets = picture_names([_name_of(source) for source in sources], output)
    written = [*targets, *_tables(args, output, targets)]
    check_sources(sources, written)
    if args.output:
        record_pictures(output, written)
    classes, origin = _class_names(files, args.classes)
    detector = Detector(files, classes, device_of(args), origin,
                        "--classes NAME ... gives the names of the net's classes, without the background")
    demo = Demo(detector, args)
    for source, target in zip(sources, targets, strict=True):
        demo.show(source, target)
    demo.write_tables(output)
    print(f"Pictures: {output}", flush=True)
    if demo.failed:
        raise UserError("\n".join([f"{len(demo.failed)} of {_in_words(sources)} skipped:", *demo.failed]))
    return 0


def find_sources(names: Sequence[str]) -> list[Source]:
    """The files and cameras that the names stand for. Raises UserError for a name that is neither."""
    found: list[Source] = []
    for name in names:
        if name.isdecimal() and not Path(name).exists():
            found.append(int(name))
        else:
            found += image_files([name], IMAGE_SUFFIXES + VIDEO_SUFFIXES)
    return found


def _in_words(sources: Sequence[Source]) -> str:
    """Such as '3 photographs', or '3 photographs, videos and cameras': the kinds that occur."""
    kinds = {"cameras" if isinstance(source, int) else "videos" if _is_video(source) else "photographs"
             for source in sources}
    *first, last = sorted(kinds, key=["photographs", "videos", "cameras"].index)
    return f"{len(sources)} {' and '.join([*([', '.join(first)] if first else []), last])}"


def _name_of(source: Source) -> Path:
    return Path(f"camera_{source}.mp4") if isinstance(source, int) else source


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _tables(args: argparse.Namespace, output: Path, targets: Sequence[Path]) -> list[Path]:
    """The files to write besides the pictures."""
    return [*([output / JSON] if args.json else []), *([output / CSV] if args.csv else []),
            *(_frames_of(target) for target in targets if _is_video(target)),
            *(_txt_of(target) for target in targets if args.txt and not _is_video(target))]


def _frames_of(target: Path) -> Path:
    return target.with_name(f"{target.stem}.frames.csv")


def _txt_of(target: Path) -> Path:
    return target.with_name(f"{target.stem}.txt")


def _class_names(files: DetectorFiles, given: Sequence[str] | None) -> tuple[Sequence[str], str]:
    """The class names, and a description of their origin for messages."""
    from datasets.pascal_voc import CLASSES
    names = class_names(files, given)
    if names:
        return names, "--classes" if given else "the run" if files.record and files.record.net else "the detector"
    print("Note: the net's class names are unknown; using those of PASCAL VOC. --classes NAME ... sets others",
          flush=True)
    return CLASSES, "PASCAL VOC"


def picture_names(paths: Sequence[Path], output: Path) -> list[Path]:
    """<name>.png in the output folder, .mp4 for videos; equal names get a number appended, so that all differ."""
    counts = Counter(path.stem for path in paths)
    taken = {stem for stem, count in counts.items() if count == 1}      # these names get no number
    names = []
    for index, path in enumerate(paths):
        numbered = (f"{path.stem}_{number}" for number in itertools.count(index))
        names.append(path.stem if counts[path.stem] == 1 else next(name for name in numbered if name not in taken))
        taken.add(names[-1])
    return [output / f"{name}{'.mp4' if _is_video(path) else '.png'}"
            for name, path in zip(names, paths, strict=True)]


def check_sources(sources: Sequence[Source], written: Sequence[Path]) -> None:
    """Raise UserError if a file to be written is one of the photographs and videos to be read."""
    files = {source.resolve() for source in sources if isinstance(source, Path)}
    for path in written:
        if path.resolve() in files:
            raise UserError(f"{path}: would be overwritten by its own picture; choose another --output")


def record_pictures(output: Path, targets: Sequence[Path]) -> None:
    """Record that this tool writes these files into the user's output folder.

    Raises UserError, and records nothing, if one of them exists and is not on record, such as the user's photograph.
    """
    record = output / PICTURES
    ours = read_record(record, "remove it", pictures=list)["pictures"] if record.is_file() else []
    taken = [str(target) for target in targets if target.exists() and target.name not in ours]
    if taken:
        raise UserError(f"{listing(taken, 1)}: exists and was not written by this tool; choose another --output")
    write_json(record, {"pictures": sorted({*ours, *(target.name for target in targets)})})


class Demo:
    """Runs the detector on the sources, writes their pictures and collects the detections.

    entries  of the JSON file
    table    rows of the CSV file
    failed   messages about the sources that were skipped
    """

    def __init__(self, detector: Detector, args: argparse.Namespace) -> None:
        self.detector, self.args = detector, args
        self.entries: list[dict[str, Any]] = []
        self.table: list[Row] = []
        self.failed: list[str] = []

    def show(self, source: Source, target: Path) -> None:
        """Detect objects in one source, print them and write its picture. An unreadable source is skipped."""
        try:
            if _is_video(target):
                self._show_video(source, target)
            else:
                self._show_photograph(Path(str(source)), target)
        except (ImageError, VideoError, OSError) as error:
            print(f"{message_of(error)}: skipped", flush=True)
            self.failed.append(message_of(error))

    def _show_photograph(self, path: Path, target: Path) -> None:
        found = self.detector.detect_in_file(path, self.args.thresh)
        write_image(target, found.draw())
        if self.args.txt:
            write_txt(_txt_of(target), found)
        self._add(found, str(path))
        print(f"{path}: {len(found)} objects in {found.seconds:.2f} s -> {target}")
        for line in [*found.table()] or [found.why_empty("--thresh")]:
            print(f"  {line}", flush=True)

    def _show_video(self, source: Source, target: Path) -> None:
        """Write the frames with boxes drawn, and a table of the objects by frame. Ctrl-C ends a camera's video."""
        name, timer = f"camera {source}" if isinstance(source, int) else str(source), Timer()
        timer.tic()
        table: list[Row] = []
        count = 0
        with (open_video(source) as capture, atomic_path(target) as temporary,
              video_writer(temporary, frame_rate(capture), str(target)) as write,
              contextlib.suppress(*([KeyboardInterrupt] if isinstance(source, int) else []))):
            for frame in itertools.islice(frames(capture), self.args.frames):
                found = self.detector(frame, self.args.thresh)
                write(found.draw())
                table += rows(found, name, count)
                self._add(found, name, count)
                count += 1
            if not count:
                raise VideoError(f"{name}: has no frames that OpenCV can read")
        write_csv(_frames_of(target), table)
        print(f"{name}: {len(table)} objects in {count} frames, {timer.toc(average=False):.2f} s -> {target}",
              flush=True)

    def _add(self, found: Results, image: str, frame: int | None = None) -> None:
        if self.args.json:
            self.entries.append(for_json(found, image, frame))
        if self.args.csv:
            self.table += rows(found, image, frame)

    def write_tables(self, output: Path) -> None:
        """Write the files of --json and --csv."""
        if self.args.json:
            write_json(output / JSON, self.entries)
        if self.args.csv:
            write_csv(output / CSV, self.table)


if __name__ == "__main__":
    sys.exit(main())
