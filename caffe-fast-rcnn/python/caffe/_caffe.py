# ruff: noqa: F401
"""The names of pycaffe's compiled module, for scripts that import it: `from caffe._caffe import Net, RawBlobVec`.

The vector types of that module are plain lists here.
"""
from .engine.layer import BlobVec
from .engine.solvers import Solver
from .proto.caffe_pb2 import LayerParameter, SolverParameter
from .pycaffe import (
    NCCL,
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    Blob,
    Layer,
    NesterovSolver,
    Net,
    RMSPropSolver,
    SGDSolver,
    Timer,
    get_solver,
    has_nccl,
    init_log,
    layer_type_list,
    log,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)

BoolVec = DtypeVec = IntVec = LayerVec = NetVec = RawBlobVec = StringVec = list

