"""pycaffe on PyTorch: nets, solvers and files of Caffe."""
import os as _os

# Waiting threads must not spin: beside another busy process, spinning makes a net ten times slower. OpenMP reads this
# when PyTorch is loaded; a value that the user has set is kept.
_os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Huge pages for large tensors: with small pages, allocating a large blob takes longer than a ReLU takes to fill it.
# PyTorch reads this at its first allocation.
_os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from . import _caffe, coord_map, io, proto
from .classifier import Classifier
from .detector import Detector
from .export import ExportError, to_onnx, to_torch
from .net_spec import NetSpec, layers, params, to_proto
from .pycaffe import *  # noqa: F403

__version__ = "1.0.0"
