"""The runs of the benchmark: which recipe or peer, seed and data, and where it is stored."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accuracy_parts.data import Split
from accuracy_parts.recipes import DataSet, Peer, Recipe
from utils.files import read_json, sha256_json

RESULT = "result.json"
POINTS = 8              # default number of tests during a training of one stage, ours or a peer's


@dataclass(frozen=True)
class Run:
    """A training of a recipe, or of a peer that starts from the recipe's weights.

    net      name of the recipe or peer
    weights  folder of initial weights
    output   folder of all runs
    points   number of tests during a training of one stage
    """

    split: Split
    net: str
    recipe: Recipe
    peer: Peer | None
    seed: int
    weights: Path
    output: Path
    points: int = POINTS

    @property
    def key(self) -> str:
        """Eight hexadecimal digits that identify the recipe, so that results of a changed one are not reused."""
        return sha256_json([asdict(self.recipe), asdict(self.peer) if self.peer else False])[:8]

    @property
    def folder(self) -> Path:
        """Folder of the training, its tests and its result."""
        return self.output / self.split.name / f"{self.net}_{self.seed}_{self.key}"

    @property
    def trained(self) -> Path:
        """Output folder of the tool that trains."""
        return self.folder / "run"

    @property
    def initial_weights(self) -> Path | None:
        """The file of initial weights, if any."""
        return self.weights / self.recipe.weights if self.recipe.weights else None

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run (see `trainings.finish`), else None."""
        path = self.folder / RESULT
        return read_json(path) if path.is_file() else None


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


def make_run(known: Mapping[str, DataSet], split: Split, net: str, seed: int, weights: Path, output: Path,
             points: int = POINTS) -> Run:
    """The run of a recipe or peer named `net` on a known data set."""
    data_set = known[split.name]
    peer = data_set.peers.get(net)
    return Run(split, net, data_set.recipes[peer.like if peer else net], peer, seed, weights, output, points)
