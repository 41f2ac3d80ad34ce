"""One training and its tests, each run by a tool in a separate process; finished steps are not repeated."""
from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import caffe
from accuracy_parts.clock import Clock
from accuracy_parts.data import Split
from accuracy_parts.recipes import DataSet, Peer, Recipe
from alt_opt.manifest import Manifest
from alt_opt.plan import STEPS
from alt_opt.settings import step_settings
from datasets.detection_files import EVALUATION
from fast_rcnn.config import Config, file_changes, pair_changes
from fast_rcnn.detector_record import RUN_RECORD
from utils.child_process import run_child
from utils.errors import UserError
from utils.files import read_json, sha256_json, write_json

ROOT = Path(__file__).resolve().parents[3]
CFGS = ROOT / "experiments" / "cfgs"
RESULT, SNAPSHOTS = "result.json", "snapshots"
POINTS = 4          # snapshots of the last stage to test, besides the detector before it (see `first_detector`)
PEER_POINTS = 8     # tests during a peer's training
_SNAPSHOT = re.compile(r".*fast_rcnn_stage2_iter_(\d+)\.caffemodel")


@dataclass(frozen=True)
class Run:
    """A training of a recipe, or of a peer that starts from the recipe's weights.

    net      name of the recipe or peer
    weights  folder of initial weights
    output   folder of all runs
    """

    split: Split
    net: str
    recipe: Recipe
    peer: Peer | None
    seed: int
    weights: Path
    output: Path

    @property
    def key(self) -> str:
        """Eight hexadecimal digits that identify the recipe, so that results of a changed one are not reused."""
        return sha256_json([asdict(self.recipe), asdict(self.peer) if self.peer else False])[:8]

    @property
    def folder(self) -> Path:
        """Folder of the training, its tests and its result."""
        return self.output / self.split.name / f"{self.net}_{self.seed}_{self.key}"

    @property
    def initial_weights(self) -> Path | None:
        """The file of initial weights, if any."""
        return self.weights / self.recipe.weights if self.recipe.weights else None

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run (see `finish`), else None."""
        path = self.folder / RESULT
        return read_json(path) if path.is_file() else None

    def settings(self) -> dict[str, Config]:
        """The settings of each step."""
        pairs = [str(word) for pair in self.recipe.settings.items() for word in pair]
        changes = {**file_changes(CFGS / self.recipe.cfg), **pair_changes(pairs)}
        return step_settings(changes, changes.get("TRAIN.USE_OHEM", True), self.seed)

    def images_seen(self) -> list[int]:
        """The number of images that each of the four stages is trained on."""
        settings = self.settings()
        steps = [step.name for step in STEPS if step.trains]
        return [count * settings[step].TRAIN.IMS_PER_BATCH
                for step, count in zip(steps, self.recipe.iterations, strict=True)]


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


def finished_runs(known: Mapping[str, DataSet], weights: Path, output: Path) -> list[Run]:
    """The finished runs of the current recipes in an output folder, ordered by recipe, then by seed."""
    runs: dict[Path, Run] = {}          # by folder: an earlier recipe may have left a result of the same net and seed
    for name, data_set in known.items():
        found = [read_json(path) for path in sorted((output / name).glob(f"*/{RESULT}"))]
        for net in data_set.nets:
            of_net = [make_run(known, Split(*result["split"]), net, result["seed"], weights, output)
                      for result in found if result["net"] == net]
            runs |= {run.folder: run for run in sorted(of_net, key=lambda run: run.seed) if run.result()}
    return list(runs.values())


def make_run(known: Mapping[str, DataSet], split: Split, net: str, seed: int, weights: Path, output: Path) -> Run:
    """The run of a recipe or peer named `net` on a known data set."""
    data_set = known[split.name]
    peer = data_set.peers.get(net)
    return Run(split, net, data_set.recipes[peer.like if peer else net], peer, seed, weights, output)


# ---- ours
def _our_run(run: Run) -> dict[str, Any]:
    clock, kept = Clock(run.folder), run.folder / SNAPSHOTS
    if not (run.folder / "run" / RUN_RECORD).is_file():
        with clock.running(lambda: keep_snapshots(run.folder / "run", kept)):
            run_child(train_command(run), f"{run.net} {run.seed}", run.folder / "train.log")
    total, *before = _iterations(run, kept)
    first_detector(run.folder / "run", _snapshot(kept, 0))
    earlier = sum(run.images_seen()[:3])
    points, evaluation = [], {}
    for iteration in sorted({0, *before, total}):
        file = _snapshot(kept, iteration)
        seconds = clock.seconds() if iteration == total else clock.seconds(file.stat().st_mtime)
        evaluation = _tested(run, file, run.folder / "tests" / str(iteration))
        images = earlier + run.images_seen()[3] * iteration // total
        points.append({"seconds": seconds, "images": images, **evaluation["mean"]})
    return finish(run, points, evaluation, clock)


def train_command(run: Run) -> list[str]:
    """The command line of the training."""
    snapshots = {"TRAIN.SNAPSHOT_ITERS": -(-run.recipe.iterations[3] // POINTS)}
    words = [sys.executable, ROOT / "tools" / "train_faster_rcnn_alt_opt.py", "--resume", "--cpu",
             "--weights", run.initial_weights or "none", "--imdb", run.split.train, "--seed", run.seed,
             "--output", run.folder / "run", *run.recipe.words(CFGS, snapshots)]
    return [str(word) for word in words]


def keep_snapshots(source: Path, target: Path) -> None:
    """Hard-link the snapshots of stage 2's Fast R-CNN, which the training deletes when it ends."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.caffemodel"):
        match = _SNAPSHOT.fullmatch(file.name)
        if match and not _snapshot(target, int(match[1])).exists():
            os.link(file, _snapshot(target, int(match[1])))


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


def _snapshot(folder: Path, iteration: int) -> Path:
    return folder / f"{iteration}.caffemodel"


def _iterations(run: Run, kept: Path) -> list[int]:
    """Iterations of the snapshots in descending order. Raises UserError if the training's last snapshot is missing."""
    found = sorted((int(file.stem) for file in kept.glob("*.caffemodel")), reverse=True)
    if not found or found[0] != run.recipe.iterations[3]:
        raise UserError(f"{run.folder / 'run'}: the training has ended without its last snapshot; delete {run.folder}")
    return found


def _tested(run: Run, model: Path, output: Path) -> dict[str, Any]:
    """Average precisions of a snapshot, computed by tools/test_net.py unless stored already."""
    if not (output / EVALUATION).is_file():
        trained = run.folder / "run"
        words = [sys.executable, ROOT / "tools" / "test_net.py", "--cpu", "--def", trained / "faster_rcnn_test.pt",
                 "--net", model, "--imdb", run.split.test, "--output", output]
        run_child([str(word) for word in words], f"test of {model.name}", run.folder / "test.log")
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
    return peer.images or sum(run.images_seen())


def peer_command(run: Run, peer: Peer) -> list[str]:
    """The command line that trains and tests a peer."""
    words = [sys.executable, Path(__file__).with_name(peer.program), "--imdb", run.split.train, "--test_imdb",
             run.split.test, "--weights", run.initial_weights, "--images", peer_images(run, peer), "--points",
             PEER_POINTS, *peer.options, "--seed", run.seed, "--output", run.folder]
    return [str(word) for word in words]
