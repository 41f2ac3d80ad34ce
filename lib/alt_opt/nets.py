"""The prototxts of an alternating optimisation run: shipped, the user's, or generated for the run."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from caffe.proto.caffe_pb2 import SolverParameter
from checks.solver import late_reason
from fast_rcnn.schedule import change_solver, default_iterations, write_solver
from net_definitions import NETS, SHIPPED_CLASSES, USUAL, Sizes, alt_opt_method, model_files
from net_definitions.task import as_words
from net_definitions.written import write_files
from utils import prototxt
from utils.errors import CheckError
from utils.prototxt import net_named_by, net_of_solver

TRAINED = ("stage1_rpn", "stage1_fast_rcnn", "stage2_rpn", "stage2_fast_rcnn")


class RunNets:
    """The prototxts in a folder, and the number of iterations of each training step.

    folder     holds stage{1,2}_{rpn,fast_rcnn}_solver*.pt, rpn_test.pt and faster_rcnn_test.pt
    max_iters  of the four training steps, whose learning rates fall before the end (see `change_solver`); None for
               those of the solvers (see `solver_iters`)
    lr         initial learning rates of the four; None for those of the solvers
    Raises CheckError for missing files, and for a solver whose net is not in the folder.
    """

    def __init__(self, net_name: str, folder: Path, max_iters: Sequence[int] | None = None,
                 lr: Sequence[float] | None = None) -> None:
        self.net_name, self.folder = net_name, folder
        self.rpn_test, self.detector_test = folder / "rpn_test.pt", folder / "faster_rcnn_test.pt"
        self._solvers = {step: _only_solver(folder, step) for step in TRAINED}
        missing = [path.name for path in (self.rpn_test, self.detector_test) if not path.is_file()]
        if missing:
            raise CheckError(f"{folder}: has no {' and no '.join(missing)}")
        self._moved: set[str] = set()       # steps that need a copy of their solver: it names another net, or changes
        self._nets = {step: self._net_of(step) for step in TRAINED}
        given = max_iters or [solver_iters(self._solvers[step]) for step in TRAINED]
        self.max_iters = dict(zip(TRAINED, given, strict=True))
        self.has_own_iterations = max_iters is not None
        self.notes: list[str] = []          # what differs from the solvers' files, in words
        self._params = {step: prototxt.read_solver(path) for step, path in self._solvers.items()}
        for number, step in enumerate(TRAINED):
            self._change(step, max_iters[number] if max_iters else None, lr[number] if lr else None)

    def _change(self, step: str, max_iters: int | None, lr: float | None) -> None:
        changes = change_solver(self._params[step], max_iters, lr)
        if not changes:
            return
        self._moved.add(step)
        reason = late_reason(self._solvers[step], max_iters) if max_iters else ""
        start = f"{reason}. This" if reason else f"{self._solvers[step]}: this"
        self.notes.append(f"Note: {start} run trains with {', '.join(changes)}")

    def _net_of(self, step: str) -> Path:
        """The net that a solver names, or its copy in a copied folder whose solvers still name the original nets."""
        solver, folder = self._solvers[step], self.folder.resolve()
        named = Path(net_named_by(solver))
        copy = folder / named.name
        try:
            named = net_of_solver(solver)
        except CheckError:
            if not copy.is_file():
                raise
        if named.resolve().is_relative_to(folder) and named.is_file():
            return named
        if not copy.is_file():
            raise CheckError(f"{solver}: trains {named}, which is not in {self.folder}; change its train_net")
        print(f"{solver.name} names {named}: its copy in {self.folder} is trained", flush=True)
        self._moved.add(step)
        return copy

    def solver(self, step: str) -> Path:
        """The solver file of a training step."""
        return self._solvers[step]

    def solver_param(self, step: str) -> SolverParameter:
        """The SolverParameter of the run, whose iterations and learning rates may differ from the file's."""
        return self._params[step]

    def solver_to_run(self, step: str, copy: Path) -> Path:
        """The solver file to run: `copy`, which is written, if the original names a net elsewhere or is changed."""
        if step not in self._moved:
            return self._solvers[step]
        return write_solver(self._params[step], self._nets[step], copy)

    def train_net(self, step: str) -> Path:
        """The net's prototxt of a training step."""
        return self._nets[step]


def _only_solver(folder: Path, step: str) -> Path:
    found = sorted(folder.glob(f"{step}_solver*.pt"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckError(f"{folder}: expected one {step}_solver*.pt, found {names}")
    return found[0]


def solver_iters(path: Path) -> int:
    """Iterations of a solver: its max_iter, or else 4/3 of its stepsize. Raises CheckError if it has neither."""
    param = prototxt.read_solver(path)
    if not (param.max_iter or param.stepsize):
        raise CheckError(f"{path}: has neither max_iter nor stepsize; give --max_iters")
    return param.max_iter or default_iterations(param.stepsize)


def check_net_name(net_name: str) -> None:
    """Raise CheckError for an unknown net."""
    if net_name not in NETS:
        raise CheckError(f"--net_name {net_name}: there is no such net; choose one of {', '.join(NETS)}, or give "
                         "--models DIR with your own")


def find_nets(net_name: str, num_classes: int, ohem: bool, models: str | None, shipped: Path, made: Path,
              max_iters: Sequence[int] | None = None, sizes: Sizes = USUAL,
              lr: Sequence[float] | None = None) -> RunNets:
    """Find, or generate, the nets of a run.

    models   the user's folder, which holds the files or <net>/<method>/; they are used unchanged
    shipped  folder of the shipped nets
    made     folder for generated nets: for other numbers of classes or other sizes, or without mining (see `make_nets`)
    Raises CheckError if they are missing, and if sizes are given together with `models`.
    """
    method = alt_opt_method(ohem)
    if models is not None:
        if sizes != USUAL:
            raise CheckError(f"--models {models}: these nets are used as they are; {_words(sizes)} apply to generated "
                             "nets only: leave them out, or give them to tools/make_models.py")
        return RunNets(net_name, _folder_of_user(Path(models), net_name, method), max_iters, lr)
    check_net_name(net_name)
    if num_classes == SHIPPED_CLASSES and sizes == USUAL:
        folder = shipped / net_name / method
        if ohem or any(folder.glob("*.pt")):    # without mining: from an older version, or the user's MODELS_DIR
            return RunNets(net_name, folder, max_iters, lr)
        print(f"Nets without hard example mining are not shipped: writing them to {made}", flush=True)
        make_nets(net_name, num_classes, made, max_iters)
        return RunNets(net_name, made / net_name / method, max_iters, lr)
    if num_classes == SHIPPED_CLASSES:
        reason = f"Writing nets with {_words(sizes)}"
    else:
        reason = (f"The data set has {num_classes} classes with the background, the shipped nets {SHIPPED_CLASSES}: "
                  "writing nets for it")
    falls = "; their learning rates fall after three quarters of the iterations" if max_iters else ""
    print(f"{reason} to {made}{falls}", flush=True)
    make_nets(net_name, num_classes, made, max_iters, sizes)
    edited = edited_shipped_files(net_name, shipped, method)
    if edited:
        print(f"Note: {', '.join(map(str, edited))}: edited, which has no effect on nets for {num_classes} classes. "
              f"Edit those in {made / net_name / method}, or give --models DIR with your own", flush=True)
    return RunNets(net_name, made / net_name / method, max_iters, lr)


def _folder_of_user(models: Path, net_name: str, method: str) -> Path:
    inner = models / net_name / method
    if inner.is_dir():
        return inner
    if inner.parent.is_dir() and not any(models.glob("*.pt")):
        raise CheckError(f"--models {models}: {inner.parent} has no folder {method}; "
                         f"tools/make_models.py --net {net_name} --out DIR writes one")
    return models


def _words(sizes: Sizes) -> str:
    """The given sizes as command line options."""
    return " ".join(f"--{name} {as_words(value) if isinstance(value, list | tuple) else value}"
                    for name, value in sizes._asdict().items() if value is not None)


def make_nets(net_name: str, num_classes: int, made: Path, max_iters: Sequence[int] | None = None,
              sizes: Sizes = USUAL) -> None:
    """Write a net's files to `made`/<net>/<method>/; files that the user has edited there are kept.

    max_iters  of the four stages, whose learning rates fall after three quarters; None: as in the net's definition
    Raises CheckError if an edited file no longer matches the command, and for impossible sizes.
    """
    try:
        texts = model_files(net_name, num_classes, sizes, made.resolve().as_posix(), max_iters)
    except ValueError as error:
        raise CheckError(f"{_words(sizes)}: {error}") from None
    write_files(texts, made)


def edited_shipped_files(net_name: str, shipped: Path, method: str) -> list[Path]:
    """The shipped files of a net that differ from its definition."""
    return [shipped / name for name, text in model_files(net_name).items()
            if name.startswith(f"{net_name}/{method}/") and (shipped / name).is_file()
            and (shipped / name).read_bytes() != text.encode()]
