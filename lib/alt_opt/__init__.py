"""Faster R-CNN by alternating optimisation: its steps, and the driver that runs them."""
