"""Minibatches for the nets: which images and RoIs, their blobs, and hard example mining."""
