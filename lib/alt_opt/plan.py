"""The steps of alternating optimisation, and the inputs of a run."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alt_opt.nets import RunNets
from fast_rcnn.config import Config
from fast_rcnn.validation import default_interval
from utils.folder_lock import FolderLock


@dataclass(frozen=True)
class Step:
    """One step. `init` and `proposals` name the steps whose model and proposals it uses (None: none)."""

    name: str
    kind: str               # 'rpn', 'proposals' or 'fast_rcnn'
    stage: int
    init: str | None = None
    proposals: str | None = None

    @property
    def trains(self) -> bool:
        """Whether the step produces a model; the others produce proposals."""
        return self.kind != "proposals"

    @property
    def has_rpn(self) -> bool:
        """Whether its model has a trained RPN, from this step or a previous one."""
        return self.kind == "rpn" or self.init is not None

    @property
    def output(self) -> str:
        """Name of its output in the manifest."""
        return "model" if self.trains else "proposals"


STEPS = (
    Step("stage1_rpn", "rpn", 1),
    Step("stage1_proposals", "proposals", 1, init="stage1_rpn"),
    Step("stage1_fast_rcnn", "fast_rcnn", 1, proposals="stage1_proposals"),
    Step("stage2_rpn", "rpn", 2, init="stage1_fast_rcnn"),
    Step("stage2_proposals", "proposals", 2, init="stage2_rpn"),
    Step("stage2_fast_rcnn", "fast_rcnn", 2, init="stage2_rpn", proposals="stage2_proposals"),
)


@dataclass(frozen=True)
class Validation:
    """Validation of the training steps.

    imdb_name  data set; digest  fingerprint of its annotations
    every      iterations between two validations; None: see `default_interval`
    patience   validations without a new best result after which a step stops early; None: no early stopping
    """

    imdb_name: str
    digest: str
    every: int | None = None
    patience: int | None = None

    def interval(self, max_iters: int) -> int:
        """Iterations between two validations of a step."""
        return self.every or default_interval(max_iters)


@dataclass
class Run:
    """The inputs of a run.

    nets       the prototxts and the numbers of iterations
    weights    caffemodel that stage 1 starts from; None for random weights
    imdb_name  data set; classes  its class names; num_images  their number
    data_digest  fingerprint of its annotations and images; annotation_digest  of its annotations alone
    left_out   its image files that are left out, because they cannot be decoded or scaled
    settings   of each step by name (see settings.py)
    command    starts a step; the path of its job file is appended (see step.py)
    processes  number of processes, of which this is the first (see team.py)
    validation  of the training steps; None: none
    skip_unfitting  whether to skip all layers of the weights whose shapes differ
    tensorboard  whether to write TensorBoard logs to <output>/tensorboard
    profile    whether to profile each step, to <output>/profile
    lock       of the output folder (see open_folder); released at the end
    """

    nets: RunNets
    weights: Path | None
    imdb_name: str
    data_digest: str
    annotation_digest: str
    left_out: Sequence[str]
    classes: Sequence[str]
    settings: dict[str, Config]
    gpu_id: int | None
    output: Path
    command: Sequence[str]
    lock: FolderLock
    final_name: str = field(default="")
    processes: int = 1
    profile: bool = False
    validation: Validation | None = None
    num_images: int = 0
    tensorboard: bool = False
    skip_unfitting: bool = False

    def __post_init__(self) -> None:
        self.final_name = self.final_name or f"{self.nets.net_name}_faster_rcnn_final.caffemodel"
