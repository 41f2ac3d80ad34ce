"""The runs of the study: the first stage, once per data set, and the training and test of each condition and seed.

Each step runs a tool in a separate process and records its result in `<step>.json`; an interrupted training resumes
from its checkpoint.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alt_opt.nets import RunNets, make_nets
from alt_opt.settings import stage_settings, write_settings
from datasets.factory import get_imdb
from fast_rcnn.checkpoints import data_digest, net_fingerprint, relevant_settings, solver_fingerprint
from fast_rcnn.config import Changes, Config, file_changes, make_settings, plain
from fast_rcnn.schedule import change_solver
from fast_rcnn.snapshots import others_of_the_same_training, snapshot_name
from net_definitions import Sizes, alt_opt_method, end2end_method
from study import mining_rules
from study.conditions import Condition
from study.data_sets import DataSets, evaluate
from study.nets import fast_rcnn_test_net, with_rule
from utils import prototxt
from utils.child_process import run_child
from utils.files import read_json, sha256_file, sha256_json, write_json, write_text
from utils.own_files import OwnFiles

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ROOT / "tools"
FIRST_SEED = 3          # seed of the RPN, which all runs share
CHECKPOINTS = 3         # checkpoints per training


@dataclass(frozen=True)
class Task:
    """What all runs on a data set have in common.

    folder      output folder
    weights     caffemodel that both stages start from; None: random initialisation
    settings    settings that override the defaults
    iterations  of the RPN and of Fast R-CNN; learning rates drop after three quarters of them
    rates       initial learning rates of the RPN and of Fast R-CNN; None: the net's own
    device      options for the tools: --cpu or --gpu N
    """

    data: DataSets
    folder: Path
    net: str
    weights: Path | None
    settings: Changes
    sizes: Sizes
    iterations: tuple[int, int]
    rates: tuple[float, float] | None
    device: Sequence[str]

    def nets(self, ohem: bool) -> RunNets:
        """The prototxts of alternating optimisation, with or without hard example mining."""
        return RunNets(self.net, self.folder / "nets" / self.net / alt_opt_method(ohem))

    @property
    def features(self) -> Path:
        """Folder that caches the outputs of frozen layers."""
        return self.folder / "features"

    def stage_settings(self, kind: str, ohem: bool, changes: Changes, seed: int = FIRST_SEED) -> Config:
        """The settings of a step of stage 1; `changes` override the task's settings."""
        return stage_settings(kind, 1, ohem, {**self._common(kind != "rpn"), **changes}, seed)

    def joint_settings(self, ohem: bool, changes: Changes, seed: int) -> Config:
        """The settings of an end-to-end training; `changes` override the task's settings."""
        usual = file_changes(ROOT / "experiments" / "cfgs" / f"{end2end_method(ohem)}.yml")
        return make_settings({**usual, **self._common(True), "RNG_SEED": seed, **changes})

    def _common(self, fast_rcnn: bool) -> Changes:
        return {"TRAIN.SNAPSHOT_ITERS": max(1, self.iterations[fast_rcnn] // CHECKPOINTS), **self.settings}


@dataclass(frozen=True)
class FirstStage:
    """The files of proposals for the images to train on and to test on."""

    train: Path
    test: Path


def first_stage(task: Task) -> FirstStage:
    """Write the nets, train the RPN and generate its proposals, unless done."""
    folder = task.folder / "first_stage"
    iterations = (*task.iterations, *task.iterations)
    make_nets(task.net, get_imdb(task.data.train).num_classes, task.folder / "nets", iterations, task.sizes)
    nets = task.nets(ohem=False)
    model = _trained(task, folder, "rpn", nets.solver("stage1_rpn"), task.stage_settings("rpn", False, {}),
                     task.data.train)
    many = task.stage_settings("proposals", False, {})
    few = make_settings(task.settings)      # as many proposals as in a complete detector
    return FirstStage(_proposals(task, nets.rpn_test, model, task.data.train, many, folder / "train.npz"),
                      _proposals(task, nets.rpn_test, model, task.data.test, few, folder / "test.npz"))


def run(task: Task, name: str, condition: Condition, seed: int, first: FirstStage) -> dict[str, float]:
    """Train and test a detector once, unless done; returns the average precisions (see `evaluate`)."""
    folder, data = task.folder / f"{name}_{seed}", task.data.trained(condition.incomplete)
    solver = _write_solver(task, condition, folder)
    if condition.end_to_end:
        settings = task.joint_settings(condition.ohem, dict(condition.settings), seed)
        model = _trained(task, folder, "both", solver, settings, data)
        return _tested(task, folder, model)
    settings = task.stage_settings("fast_rcnn", condition.ohem, {
        "TEST.PROPOSAL_METHOD": "rpn", **_imports(condition), **condition.settings}, seed)
    model = _trained(task, folder, "fast_rcnn", solver, settings, data, first.train)
    return _tested(task, folder, model, first.test)


def _imports(condition: Condition) -> Changes:
    """Settings that let the tools import the condition's mining rule."""
    module = mining_rules.__name__
    folder = str(Path(__file__).resolve().parents[1])
    return {"IMPORTS": (module,), "IMPORTS_DIR": folder} if condition.rule else {}


def _write_solver(task: Task, condition: Condition, folder: Path) -> Path:
    """Write the condition's solver, and its net if it has its own mining rule; returns the solver's path."""
    nets = task.nets(condition.ohem)
    if condition.end_to_end:
        joint = task.folder / "nets" / task.net / end2end_method(condition.ohem)
        solver, net = prototxt.read_solver(joint / "solver.pt"), joint / "train.pt"
    else:
        solver, net = prototxt.read_solver(nets.solver("stage1_fast_rcnn")), nets.train_net("stage1_fast_rcnn")
    if condition.rule:
        net = write_text(folder / "train.pt", with_rule(net, mining_rules.__name__, condition.rule))
    solver.train_net = str(net)
    change_solver(solver, task.iterations[1], (task.rates[1] if task.rates else solver.base_lr) * condition.rate)
    return write_text(folder / "solver.pt", prototxt.to_text(solver))


def _trained(task: Task, folder: Path, kind: str, solver: Path, settings: Config, data: str,
             proposals: Path | None = None) -> Path:
    """Train with tools/train_net.py; returns the last snapshot, the only one kept.

    kind  'rpn', 'fast_rcnn' or 'both'
    """
    iterations = task.iterations[kind != "rpn"]
    model = folder / snapshot_name(prototxt.read_solver(solver), settings.TRAIN, iterations)
    rate = task.rates[0] if task.rates and kind == "rpn" else None      # otherwise it is in the solver
    inputs = {"data": data_digest(get_imdb(data)), "iterations": iterations, "solver": solver_fingerprint(solver),
              "net": net_fingerprint(prototxt.net_of_solver(solver)),
              "settings": relevant_settings(plain(settings), kind),
              "weights": task.weights and sha256_file(task.weights), "proposals": proposals and sha256_file(proposals),
              "rate": rate}
    begun = folder / f"{kind}_begun.json"

    def train() -> dict[str, Any]:
        digest = sha256_json(inputs)
        start = "--resume" if _digest_in(begun) == digest else "--restart"
        write_json(begun, {"inputs": digest})
        weights = ["--weights", str(task.weights)] if task.weights else []
        files = ["--proposals", str(proposals)] if proposals else []
        rates = ["--lr", str(rate)] if rate else []
        _run_tool(folder, kind, settings, "train_net.py", "--solver", str(solver), "--iters", str(iterations),
                  "--imdb", data, *weights, *files, *rates, "--output", str(folder), "--features", str(task.features),
                  start, *task.device)
        own = OwnFiles(folder)
        own.remove(*others_of_the_same_training(model.name, own.names()))
        return {}

    kept(folder / f"{kind}.json", inputs, train, model)
    return model


def _proposals(task: Task, net: Path, model: Path, data: str, settings: Config, output: Path) -> Path:
    """Generate proposals with tools/rpn_generate.py; returns `output`."""
    inputs = {"data": data_digest(get_imdb(data)), "net": net_fingerprint(net), "model": sha256_file(model),
              "settings": relevant_settings(plain(settings), "proposals")}

    def propose() -> dict[str, Any]:
        _run_tool(output.parent, output.stem, settings, "rpn_generate.py", "--def", str(net), "--net", str(model),
                  "--imdb", data, "--output", str(output), *task.device)
        return {}

    kept(output.with_suffix(".json"), inputs, propose, output)
    return output


def _tested(task: Task, folder: Path, model: Path, proposals: Path | None = None) -> dict[str, float]:
    """Test with tools/test_net.py on `proposals`, or with the detector's own RPN; returns the average precisions."""
    net, words = task.nets(ohem=True).detector_test, []
    if proposals:
        net, words = write_text(folder / "test.pt", fast_rcnn_test_net(net)), ["--proposals", str(proposals)]
    inputs = {"data": data_digest(get_imdb(task.data.test)), "model": sha256_file(model),
              "proposals": proposals and sha256_file(proposals)}
    results = folder / "test"

    def test() -> dict[str, Any]:
        _run_tool(folder, "test", None, "test_net.py", "--def", str(net), "--net", str(model), "--imdb",
                  task.data.test, *words, "--output", str(results), *task.device)
        return evaluate(task.data.test, results / "detections.npz", results)

    return kept(folder / "test.json", inputs, test, results / "detections.npz")


def kept(note: Path, inputs: Mapping[str, Any], work: Callable[[], dict[str, Any]], output: Path) -> dict[str, Any]:
    """The result of `work`, cached in the file `note`.

    `work` runs again if the note is missing or is of other `inputs`, or if `output` is missing.
    """
    digest = sha256_json(inputs)
    if _digest_in(note) != digest or not output.exists():
        write_json(note, {"inputs": digest, "result": work()})
    return read_json(note)["result"]


def _digest_in(note: Path) -> str | None:
    """The fingerprint of the inputs in the note of a result, or of a training that has begun; None without a note."""
    return read_json(note)["inputs"] if note.is_file() else None


def _run_tool(folder: Path, name: str, settings: Config | None, tool: str, *options: str) -> None:
    """Run a tool with its log in <folder>/logs/<name>.log. Raises ChildDied, or KeyboardInterrupt if interrupted."""
    words = [sys.executable, str(TOOLS / tool), *options]
    if settings is not None:
        path = folder / f"{name}.yml"
        write_settings(path, settings)
        words += ["--cfg", str(path)]
    print(" ".join(words), flush=True)
    run_child(words, f"{folder.name} {name}", folder / "logs" / f"{name}.log")
