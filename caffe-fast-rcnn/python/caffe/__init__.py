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
from .pycaffe import *  # noqa: F403

__version__ = "1.0.0"
