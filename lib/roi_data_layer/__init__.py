"""Minibatches for the nets: choice of images and RoIs, their blobs, and hard example mining."""
