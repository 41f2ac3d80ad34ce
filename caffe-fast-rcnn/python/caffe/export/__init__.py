"""Export of nets: as a torch.nn.Module, and as an ONNX file."""
from .onnx_model import OPSET, OnnxMissing, to_onnx
from .torch_module import TorchNet, to_torch
from .unsupported import ExportError

__all__ = ["OPSET", "ExportError", "OnnxMissing", "TorchNet", "to_onnx", "to_torch"]
