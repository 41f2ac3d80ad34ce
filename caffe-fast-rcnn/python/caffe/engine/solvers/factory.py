"""From a solver prototxt to the solver of its `type`."""
from __future__ import annotations

import difflib

from .adadelta import AdaDeltaSolver
from .adagrad import AdaGradSolver
from .adam import AdamSolver
from .nesterov import NesterovSolver
from .param import SolverError, read_param
from .rmsprop import RMSPropSolver
from .sgd import SGDSolver
from .solver import Solver

SOLVERS: dict[str, type[Solver]] = {
    "AdaDelta": AdaDeltaSolver, "AdaGrad": AdaGradSolver, "Adam": AdamSolver, "Nesterov": NesterovSolver,
    "RMSProp": RMSPropSolver, "SGD": SGDSolver,
}


def get_solver(solver_file) -> Solver:
    """Create the solver that a prototxt (or a SolverParameter) describes, with its nets.

    Raises PrototxtError for a file that cannot be read, SolverError for an unknown `type` and for settings
    that do not go together.
    """
    param, path = read_param(solver_file)
    cls = SOLVERS.get(param.type)
    if cls is None:
        near = difflib.get_close_matches(param.type, SOLVERS, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise SolverError(f"{path or 'solver'}: unknown type '{param.type}'; choose one of "
                          f"{', '.join(SOLVERS)}{hint}")
    return cls(solver_file)
