"""ONNX conversion of Filter, and checks of the layers after it: the number of items is only known at run time."""
from __future__ import annotations

from .onnx_graph import Step, converts


@converts("Filter")
def filter_(step: Step):
    *values, selector = step.inputs
    shape = step.bottoms[-1].shape
    flags = step.as_flags(step.reshaped(selector, shape, shape[:1]))
    found = [step.node("Compress", value, flags, axis=0) for value in values]
    step.set_varying(*found)
    return found


def check_items(step: Step) -> None:
    """Raise Unsupported if a layer follows a DetectionOutput, or follows a Filter and needs the number of items."""
    if any(step.graph.varying.get(value) for value in step.inputs):
        step.refuse("a DetectionOutput before it decides the number of detections")
    if any(map(step.varies, step.inputs)) and _needs_their_number(step):
        step.refuse("a Filter before it decides the number of items, which this layer needs to know")


def _needs_their_number(step: Step) -> bool:
    layer = step.layer
    match layer.type:
        case ("CTCGreedyDecoder" | "DetectionOutput" | "LabelsequenceAccuracy" | "LSTM" | "Lstm" | "RNN"
              | "YoloDetectionOutput" | "Yolov3DetectionOutput"):
            return True
        case "ArgMax":
            return layer.along == 0
        case "Crop":
            return layer.part[0].start is not None
        case "Permute" | "Transpose":
            return layer.order[0] != 0
        case "Power":
            return layer.param.power_param.power * layer.param.power_param.scale == 0
        case "Reshape":
            return layer.param.reshape_param.axis in (0, -1 - len(step.shape)) and \
                layer.param.reshape_param.shape.dim[:1] not in ([0], [-1])
        case "Slice":
            return len(step.tops) > 1 and layer.slice_axis == 0
        case "Upsample":
            return len(step.inputs) > 1
    return False
