"""Small helpers: image blobs, timing, box overlaps, files."""
