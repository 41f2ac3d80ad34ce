"""Our nets as Python: `model_files` returns every prototxt of a net as text."""
from .files import SHIPPED_CLASSES, USUAL, Sizes, alt_opt_method, is_shipped, model_files
from .nets import NETS

__all__ = ["NETS", "SHIPPED_CLASSES", "USUAL", "Sizes", "alt_opt_method", "is_shipped", "model_files"]
