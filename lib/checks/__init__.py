"""Checks of prototxts, settings and data set before training starts."""
