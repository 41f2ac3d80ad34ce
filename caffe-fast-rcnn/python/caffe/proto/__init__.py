"""Caffe's messages: `caffe_pb2` (generated from caffe.proto) and `prototxt` (text files)."""
from . import pool

pool.install()
