"""Minibatches for the nets: sampling of images and RoIs, their blobs, and hard example mining."""
