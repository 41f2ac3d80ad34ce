"""Creates the solver of a prototxt's `type`."""
from __future__ import annotations

from ...errors import SolverError
from .adadelta import AdaDeltaSolver
from .adagrad import AdaGradSolver
from .adam import AdamSolver
from .nesterov import NesterovSolver
from .param import read_param
from .rmsprop import RMSPropSolver
from .sgd import SGDSolver
from .solver import Solver

SOLVERS: dict[str, type[Solver]] = {
    "AdaDelta": AdaDeltaSolver, "AdaGrad": AdaGradSolver, "Adam": AdamSolver, "Nesterov": NesterovSolver,
    "RMSProp": RMSPropSolver, "SGD": SGDSolver,
}


def get_solver(solver_file) -> Solver:
    """Create the solver that a prototxt (or a SolverParameter) describes, with its nets.

    Raises PrototxtError for a file that cannot be read, SolverError for an unknown `type` and for
    conflicting settings.
    """
    param, path = read_param(solver_file)
    cls = SOLVERS.get(param.type)
    if cls is None:
        raise SolverError(f"{path or 'solver'}: unknown type '{param.type}'; "
                          f"choose one of {', '.join(SOLVERS)}")
    return cls(solver_file)
