"""The shipped nets as Python: `model_files` gives every prototxt of a net as text."""
from .files import model_files
from .nets import NETS

__all__ = ["NETS", "model_files"]
