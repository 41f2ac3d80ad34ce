"""Solvers: one file per algorithm, chosen by the `type` of a solver prototxt."""
from .adadelta import AdaDeltaSolver
from .adagrad import AdaGradSolver
from .adam import AdamSolver
from .factory import get_solver
from .lr_policy import solver_problems
from .nesterov import NesterovSolver
from .rmsprop import RMSPropSolver
from .sgd import SGDSolver
from .solver import Solver

__all__ = ["AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "NesterovSolver", "RMSPropSolver", "SGDSolver",
           "Solver", "get_solver", "solver_problems"]
