"""pycaffe on PyTorch: nets, solvers and files of Caffe."""
import os as _os

# Threads that wait must not spin: beside another busy program spinning makes a net ten times slower. OpenMP reads
# this when PyTorch is loaded; whoever sets it themselves keeps their choice.
_os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Large tensors on huge pages: with small ones the system takes longer to hand out the memory of a big blob than a ReLU
# takes to fill it. PyTorch reads this at its first allocation.
_os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from . import coord_map, io, proto
from .classifier import Classifier
from .detector import Detector
from .export import ExportError, to_onnx, to_torch
from .net_spec import NetSpec, layers, params, to_proto
from .pycaffe import (
    NCCL,
    TEST,
    TRAIN,
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    AutogradLayer,
    Blob,
    BlobVec,
    CaffeError,
    EngineLayer,
    FeatureCache,
    Layer,
    LayerError,
    NesterovSolver,
    Net,
    ParallelError,
    Profile,
    RMSPropSolver,
    SGDSolver,
    SolverError,
    Timer,
    fill_blob,
    gather_arrays,
    gather_values,
    get_solver,
    has_gpu,
    has_nccl,
    init_log,
    init_parallel,
    keep_freed_memory,
    layer_type_list,
    log,
    nms,
    nms_sorted,
    peak_memory_mb,
    register_layer,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_precision,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
    span,
)

__version__ = "1.0.0"
