"""Exports a detector to ONNX: what precedes and follows the net, whose layers the engine exports.

Functions here add operations to a `part` of the engine's graph, see "to_onnx" in the engine's README. They take and
return the names of values.
"""
