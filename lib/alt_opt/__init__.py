"""Faster R-CNN by alternating optimisation: the plan of its steps, and the driver that carries them out."""
