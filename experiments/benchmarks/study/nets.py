"""Prototxts derived from those of alternating optimisation."""
from __future__ import annotations

from pathlib import Path

from utils import prototxt


def with_rule(path: Path, module: str, rule: str) -> str:
    """The training net with `rule` instead of OHEMDataLayer, as prototxt."""
    net = prototxt.read_net(path)
    (miner,) = [layer for layer in net.layer if layer.python_param.layer == "OHEMDataLayer"]
    miner.python_param.module, miner.python_param.layer = module, rule
    return prototxt.to_text(net)


def fast_rcnn_test_net(path: Path) -> str:
    """A detector's test net without the RPN, with the RoIs as an input, as prototxt."""
    net = prototxt.read_net(path)
    wanted, kept = {"cls_prob", "bbox_pred"}, []
    for layer in reversed(net.layer):
        if "rois" not in layer.top and wanted.intersection(layer.top):
            kept.append(layer)
            wanted.update(layer.bottom)
    result = type(net)(name=net.name)
    rois = result.layer.add(name="rois", type="Input", top=["rois"])
    rois.input_param.shape.add(dim=[1, 5])
    result.layer.extend(reversed(kept))
    return prototxt.to_text(result)
