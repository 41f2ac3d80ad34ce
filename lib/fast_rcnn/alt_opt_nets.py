"""The prototxts of a run of alternating optimisation: shipped, the user's, or made for the data set."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fast_rcnn.checks import CheckError, net_of_solver
from fast_rcnn.made_nets import edited_shipped_files, make_nets
from net_definitions import NETS
from utils import prototxt
from utils.files import atomic_path

TRAINED = ("stage1_rpn", "stage1_fast_rcnn", "stage2_rpn", "stage2_fast_rcnn")


class RunNets:
    """The prototxts in a folder, and the iterations of each training step.

    folder     holds stage{1,2}_{rpn,fast_rcnn}_solver*.pt, rpn_test.pt and faster_rcnn_test.pt
    max_iters  of the four training steps; None for what the solvers say (see `solver_iters`)
    Raises CheckError for files that are missing, and for a solver that names none of the folder's nets.
    """

    def __init__(self, net_name: str, folder: Path, max_iters: Sequence[int] | None = None) -> None:
        self.net_name, self.folder = net_name, folder
        self.rpn_test, self.detector_test = folder / "rpn_test.pt", folder / "faster_rcnn_test.pt"
        self._solvers = {step: _only_solver(folder, step) for step in TRAINED}
        missing = [path.name for path in (self.rpn_test, self.detector_test) if not path.is_file()]
        if missing:
            raise CheckError(f"{folder}: has no {' and no '.join(missing)}")
        self._moved: set[str] = set()       # steps whose solvers name a net elsewhere
        self._nets = {step: self._net_of(step) for step in TRAINED}
        given = max_iters or [solver_iters(self._solvers[step]) for step in TRAINED]
        self.max_iters = dict(zip(TRAINED, given, strict=True))

    def _net_of(self, step: str) -> Path:
        """The net that a solver names; of a copied folder, whose solvers name those of the original, the copy."""
        solver, folder = self._solvers[step], self.folder.resolve()
        param = prototxt.read_solver(solver)
        copy = folder / Path(param.train_net or param.net).name
        try:
            named = net_of_solver(solver)
        except CheckError:
            if not copy.is_file():
                raise
            named = Path(param.train_net or param.net)
        if named.resolve().is_relative_to(folder) and named.is_file():
            return named
        if not copy.is_file():
            raise CheckError(f"{solver}: trains {named}, which is not in {self.folder}; change its train_net")
        print(f"{solver.name} names {named}: its copy in {self.folder} is trained", flush=True)
        self._moved.add(step)
        return copy

    def solver(self, step: str) -> Path:
        """The solver of a training step."""
        return self._solvers[step]

    def solver_to_run(self, step: str, folder: Path) -> Path:
        """The solver as a Caffe is given it: where it names a net elsewhere, a copy in `folder` that names ours."""
        if step not in self._moved:
            return self._solvers[step]
        param = prototxt.read_solver(self._solvers[step])
        param.ClearField("net")
        param.train_net = str(self._nets[step])
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / f"{step}_solver.pt") as temporary:
            temporary.write_text(prototxt.to_text(param), encoding="utf-8")
        return folder / f"{step}_solver.pt"

    def train_net(self, step: str) -> Path:
        """The net that a training step trains."""
        return self._nets[step]


def _only_solver(folder: Path, step: str) -> Path:
    found = sorted(folder.glob(f"{step}_solver*.pt"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckError(f"{folder}: expected one {step}_solver*.pt, found {names}")
    return found[0]


def solver_iters(path: Path) -> int:
    """Iterations of a solver: its max_iter, or else 4/3 of its stepsize.

    py-faster-rcnn trains 80000 iterations at a stepsize of 60000, and 40000 at 30000.
    Raises CheckError for a solver with neither.
    """
    param = prototxt.read_solver(path)
    if not (param.max_iter or param.stepsize):
        raise CheckError(f"{path}: has neither max_iter nor stepsize; give --max_iters")
    return param.max_iter or param.stepsize * 4 // 3


def check_net_name(net_name: str) -> None:
    """Raises CheckError if we have no such net."""
    if net_name not in NETS:
        raise CheckError(f"--net_name {net_name}: there is no such net; choose one of {', '.join(NETS)}, or give "
                         "--models DIR with your own")


def find_nets(net_name: str, num_classes: int, ohem: bool, models: str | None, shipped: Path, made: Path,
              max_iters: Sequence[int] | None = None) -> RunNets:
    """The nets of a run.

    models   the user's folder, whose files are used as they are; it holds them or <net>/<method>/
    shipped  folder of the shipped nets
    made     folder for nets that are made for the data set, where its number of classes is not the shipped one
             (see made_nets.py)
    Raises CheckError where they are not there.
    """
    method = "faster_rcnn_alt_opt" + ("" if ohem else "_no_ohem")
    if models is not None:
        inner = Path(models) / net_name / method
        return RunNets(net_name, inner if inner.is_dir() else Path(models), max_iters)
    check_net_name(net_name)
    if num_classes == 21:
        return RunNets(net_name, shipped / net_name / method, max_iters)
    make_nets(net_name, num_classes, made, max_iters)
    edited = edited_shipped_files(net_name, shipped, method)
    if edited:
        print(f"Note: {', '.join(map(str, edited))}: edited, which has no effect on nets for {num_classes} classes. "
              f"Edit those in {made / net_name / method}, or give --models DIR with your own", flush=True)
    return RunNets(net_name, made / net_name / method, max_iters)
