"""Trains and tests: each step runs a tool in a separate process; finished steps are not repeated."""
from __future__ import annotations

import os
import re
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import caffe
from accuracy_parts.clock import Clock
from accuracy_parts.recipes import CFGS, ROOT, AlternatingRecipe, EndToEndRecipe, Peer, Recipe
from accuracy_parts.runs import RESULT, Run
from alt_opt.files import training_logs
from alt_opt.manifest import Manifest
from datasets.detection_files import EVALUATION
from datasets.factory import get_imdb
from fast_rcnn.detector_record import RUN_RECORD, record_of
from net_definitions import end2end_method
from utils.child_process import run_child
from utils.errors import UserError
from utils.files import read_json, write_json

TOOLS = ROOT / "tools"
SNAPSHOTS = "snapshots"
LAST_STAGE_POINTS = 4   # snapshots of the last of four stages to test, besides the detector before it


def do(run: Run) -> dict[str, Any]:
    """Train and test, or resume; returns the result. Raises what `run_child` raises."""
    done = run.result()
    if done is None:
        print(f"{run.split.name}: {run.net}, seed {run.seed}, in {run.folder}", flush=True)
        done = _peer_run(run, run.peer) if run.peer else _our_run(run)
        write_json(run.folder / RESULT, done)
        shutil.rmtree(run.folder / SNAPSHOTS, ignore_errors=True)       # large, and no longer needed
        (run.folder / "checkpoint.npz").unlink(missing_ok=True)
    return done


def finish(run: Run, points: Sequence[dict[str, Any]], evaluation: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """The result of a run.

    {"split": [name, train, test], "net", "seed", "key", "seconds": of training, "load": the machine's during it,
     "mean" and "classes": as in evaluation.json, "points": [{"seconds", "images", and the means}, ...]}
    """
    return {"split": astuple(run.split), "net": run.net, "seed": run.seed, "key": run.key, "load": clock.load,
            "seconds": points[-1]["seconds"], "points": list(points), **evaluation}


def command(tool: Path, *words: object) -> list[str]:
    """The command line of a program."""
    return [sys.executable, str(tool), *map(str, words)]


# ---- ours
def training_of(run: Run) -> Training:
    """How a run is trained."""
    if isinstance(run.recipe, EndToEndRecipe):
        return EndToEndTraining(run, run.recipe)
    assert isinstance(run.recipe, AlternatingRecipe)
    return AlternatingTraining(run, run.recipe)


class Training(ABC):
    """A training by the tools. Its snapshots are hard-linked in <folder of the run>/snapshots, named by iteration.

    snapshot  pattern of the names of the snapshots to test; its group is the iteration
    """

    snapshot: re.Pattern[str]

    def __init__(self, run: Run, recipe: Recipe, points: int) -> None:
        self.run, self.kept = run, run.folder / SNAPSHOTS
        self.iterations = recipe.iterations[-1]
        self.more = {"TRAIN.SNAPSHOT_ITERS": -(-self.iterations // points)}
        *earlier, self.images = recipe.images_seen()
        self.images_before = sum(earlier)

    @abstractmethod
    def is_finished(self) -> bool:
        """Whether the tools have ended."""

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """The command lines of the tools, in order."""

    @property
    @abstractmethod
    def test_net(self) -> Path:
        """The detector's prototxt."""

    @abstractmethod
    def logs(self) -> list[Path]:
        """The logs of losses, in order."""

    @abstractmethod
    def complete(self) -> None:
        """Write the snapshots that the tools do not write."""

    def train(self, clock: Clock) -> None:
        """Train, unless finished. Raises what `run_child` raises."""
        if not self.is_finished():
            with clock.running(self.keep_snapshots):
                for words in self.commands():
                    run_child(words, f"{self.run.net} {self.run.seed}", self.run.folder / "train.log")
        self.complete()

    def keep_snapshots(self) -> None:
        """Hard-link the snapshots, which a tool may delete when it ends."""
        self.kept.mkdir(parents=True, exist_ok=True)
        for written, kept in self.written():
            if not kept.exists():
                os.link(written, kept)

    def written(self) -> Iterator[tuple[Path, Path]]:
        """The snapshots that a tool has written, each with its hard link."""
        for file in self.run.trained.glob("*.caffemodel"):
            match = self.snapshot.fullmatch(file.name)
            if match:
                yield file, self.file(int(match[1]))

    def file(self, iteration: int) -> Path:
        """The model of an iteration of the last stage."""
        return self.kept / f"{iteration}.caffemodel"

    def snapshots(self) -> Iterator[tuple[int, int, Path]]:
        """(iteration, images seen, model), the last iteration last. Raises UserError without that one."""
        found = sorted(int(file.stem) for file in self.kept.glob("*.caffemodel"))
        if not found or found[-1] != self.iterations:
            raise UserError(f"{self.run.trained}: the training has ended without its last snapshot; delete "
                            f"{self.run.folder}")
        for iteration in found:
            yield iteration, self.images_before + self.images * iteration // self.iterations, self.file(iteration)


class AlternatingTraining(Training):
    """Four stages. The first complete detector, before stage 2's Fast R-CNN, counts as its iteration 0."""

    snapshot = re.compile(r".*fast_rcnn_stage2_iter_(\d+)\.caffemodel")

    def __init__(self, run: Run, recipe: AlternatingRecipe) -> None:
        super().__init__(run, recipe, LAST_STAGE_POINTS)
        self._words = recipe.driver_words(CFGS, self.more)

    def is_finished(self) -> bool:
        """See Training."""
        return (self.run.trained / RUN_RECORD).is_file()

    def commands(self) -> list[list[str]]:
        """See Training."""
        run = self.run
        return [command(TOOLS / "train_faster_rcnn_alt_opt.py", "--resume", "--cpu", "--weights",
                        run.initial_weights or "none", "--imdb", run.split.train, "--seed", run.seed, "--output",
                        run.trained, *self._words)]

    @property
    def test_net(self) -> Path:
        """See Training."""
        return self.run.trained / "faster_rcnn_test.pt"

    def logs(self) -> list[Path]:
        """See Training."""
        return training_logs(self.run.trained)

    def complete(self) -> None:
        """See Training."""
        first_detector(self.run.trained, self.file(0))


def first_detector(trained: Path, path: Path) -> None:
    """Write the first complete detector of a run: stage 1's Fast R-CNN with stage 2's RPN on the same convolutions.

    The file gets the modification time of that RPN's model.
    """
    manifest = Manifest(trained)
    net = caffe.Net(str(trained / "faster_rcnn_test.pt"), caffe.TEST)
    for step in ("stage1_fast_rcnn", "stage2_rpn"):
        net.copy_from(str(manifest.output(step, "model")))
    net.save(str(path))
    os.utime(path, (manifest.output("stage2_rpn", "model").stat().st_mtime,) * 2)


class EndToEndTraining(Training):
    """One stage, with nets that tools/make_models.py writes to <folder of the run>/nets."""

    snapshot = re.compile(r".*_iter_(\d+)\.caffemodel")

    def __init__(self, run: Run, recipe: EndToEndRecipe) -> None:
        super().__init__(run, recipe, run.points)
        self._recipe, self._made = recipe, run.folder / "nets"
        self._nets = self._made / recipe.net / end2end_method(recipe.ohem)

    def is_finished(self) -> bool:
        """See Training."""
        return record_of(self.file(self.iterations)).is_file()      # written last, by `complete`

    def commands(self) -> list[list[str]]:
        """See Training."""
        run, recipe = self.run, self._recipe
        classes = get_imdb(run.split.train).num_classes
        return [command(TOOLS / "make_models.py", "--net", recipe.net, "--classes", classes, *recipe.sizes(), "--out",
                        self._made),
                command(TOOLS / "train_net.py", "--resume", "--cpu", "--solver", self._nets / "solver.pt", "--weights",
                        run.initial_weights or "none", "--imdb", run.split.train, "--iters", self.iterations,
                        "--output", run.trained,
                        *recipe.training(CFGS, {**self.more, "RNG_SEED": run.seed}))]

    @property
    def test_net(self) -> Path:
        """See Training."""
        return self._nets / "test.pt"

    def logs(self) -> list[Path]:
        """See Training."""
        return sorted((self.run.trained / "logs").glob("*.jsonl"))

    def complete(self) -> None:
        """Link the records of the settings, which belong beside the snapshots."""
        for written, kept in self.written():
            if not record_of(kept).exists():
                os.link(record_of(written), record_of(kept))


def _our_run(run: Run) -> dict[str, Any]:
    clock, training = Clock(run.folder), training_of(run)
    training.train(clock)
    points, evaluation = [], {}
    for iteration, images, model in training.snapshots():
        is_last = iteration == training.iterations
        seconds = clock.seconds() if is_last else clock.seconds(model.stat().st_mtime)
        evaluation = _tested(run, training.test_net, model, run.folder / "tests" / str(iteration))
        points.append({"seconds": seconds, "images": images, **evaluation["mean"]})
    return finish(run, points, evaluation, clock)


def _tested(run: Run, net: Path, model: Path, output: Path) -> dict[str, Any]:
    """Average precisions of a snapshot, computed by tools/test_net.py unless stored already."""
    if not (output / EVALUATION).is_file():
        words = command(TOOLS / "test_net.py", "--cpu", "--def", net, "--net", model, "--imdb", run.split.test,
                        "--output", output)
        run_child(words, f"test of {model.name}", run.folder / "test.log")
    return read_json(output / EVALUATION)


# ---- peers
def _peer_run(run: Run, peer: Peer) -> dict[str, Any]:
    clock = Clock(run.folder)
    with clock.running():
        run_child(peer_command(run, peer), f"{run.net} {run.seed}", run.folder / "train.log")
    points = read_json(run.folder / "points.json")
    return finish(run, points, read_json(run.folder / "tests" / str(points[-1]["images"]) / EVALUATION), clock)


def peer_images(run: Run, peer: Peer) -> int:
    """The number of images that a peer is trained on."""
    return peer.images or sum(run.recipe.images_seen())


def peer_command(run: Run, peer: Peer) -> list[str]:
    """The command line that trains and tests a peer."""
    return command(Path(__file__).with_name(peer.program), "--imdb", run.split.train, "--test_imdb", run.split.test,
                   "--weights", run.initial_weights, "--images", peer_images(run, peer), "--points", run.points,
                   *peer.options, "--seed", run.seed, "--output", run.folder)
