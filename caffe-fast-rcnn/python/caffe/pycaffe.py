# ruff: noqa: F401
"""The functions and classes of pycaffe, gathered from the engine.

It contains the public names and nothing else: `caffe` exports all of them.
"""
from .engine.blob import Blob
from .engine.device import (
    has_bfloat16,
    has_gpu,
    keep_freed_memory,
    peak_memory_mb,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_precision,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from .engine.files.feature_cache import FeatureCache
from .engine.fillers import fill as fill_blob
from .engine.layer import TEST, TRAIN, AutogradLayer, BlobVec, LayerError
from .engine.layer import Layer as EngineLayer
from .engine.layer import PythonLayer as Layer
from .engine.layer import layer_types as layer_type_list
from .engine.layer import register as register_layer
from .engine.layers.python import layer_modules
from .engine.parallel import ParallelError, gather_arrays, gather_values, init_parallel
from .engine.solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
    solver_problems,
)
from .errors import CaffeError, SolverError
from .kernels import nms, nms_sorted
from .logs import init_log, log
from .nccl import NCCL, has_nccl, set_multiprocess
from .profile import Profile
from .pycaffe_net import Net
from .spans import span
from .timer import Timer
