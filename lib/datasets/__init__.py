"""Data sets: images, annotated boxes, proposals, and the evaluation of detections."""
from datasets.registry import register as register
