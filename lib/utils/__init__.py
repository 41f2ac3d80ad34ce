"""Helpers shared by all packages: image blobs, timing, box overlaps, files, other Caffes."""
