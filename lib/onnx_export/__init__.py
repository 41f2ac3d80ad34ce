"""A detector as an ONNX model: what surrounds and what completes the layers that the engine exports.

Functions here add operations to a `part` of the engine's graph, see "to_onnx" in the engine's README; values are names.
"""
