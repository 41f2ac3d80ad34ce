"""Definitions of our nets in Python: `model_files` returns every prototxt of a net as text."""
from .files import SHIPPED_CLASSES, USUAL, Sizes, alt_opt_method, end2end_method, is_shipped, model_files
from .nets import NETS
from .ssd import SSD, ssd_files

__all__ = ["NETS", "SHIPPED_CLASSES", "SSD", "USUAL", "Sizes", "alt_opt_method", "end2end_method", "is_shipped",
           "model_files", "ssd_files"]
