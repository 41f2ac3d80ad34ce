"""Data sets: images, annotated boxes, proposals, and the evaluation of detections."""
