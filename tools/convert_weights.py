#!/usr/bin/env python3
"""Converts torchvision's VGG16 weights to a caffemodel for our VGG16 nets.

    tools/convert_weights.py vgg16-397923af.pth data/imagenet_models/VGG16.v2.caffemodel

torchvision's net takes RGB images, divided by 255, minus a mean, divided by a standard deviation; Caffe's
nets take BGR images in 0..255 minus another mean. Both differences are folded into the first convolution, so
that the same image yields the same features. They differ slightly only next to the image's border: padding with
zeros means padding with the mean, and the two means differ by up to one grey level.
"""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _init_paths  # noqa: F401  # before all that may not be installed

# isort: split
import numpy as np

from caffe.proto import caffe_pb2
from utils.errors import UserError
from utils.files import atomic_path, sha256_file

# Our layer, torchvision's name, shape of the weights (N outputs, C inputs, height, width)
_LAYERS = {
    "conv1_1": ("features.0", (64, 3, 3, 3)), "conv1_2": ("features.2", (64, 64, 3, 3)),
    "conv2_1": ("features.5", (128, 64, 3, 3)), "conv2_2": ("features.7", (128, 128, 3, 3)),
    "conv3_1": ("features.10", (256, 128, 3, 3)), "conv3_2": ("features.12", (256, 256, 3, 3)),
    "conv3_3": ("features.14", (256, 256, 3, 3)), "conv4_1": ("features.17", (512, 256, 3, 3)),
    "conv4_2": ("features.19", (512, 512, 3, 3)), "conv4_3": ("features.21", (512, 512, 3, 3)),
    "conv5_1": ("features.24", (512, 512, 3, 3)), "conv5_2": ("features.26", (512, 512, 3, 3)),
    "conv5_3": ("features.28", (512, 512, 3, 3)),
    # fc6 reads 512 channels x 7 x 7 cells, in this order in both
    "fc6": ("classifier.0", (4096, 25088)), "fc7": ("classifier.3", (4096, 4096)),
    "fc8": ("classifier.6", (1000, 4096)),
}
# Per channel R, G, B; torchvision's are for images in 0..1, cfg.PIXEL_MEANS for 0..255
_TORCH_MEAN, _TORCH_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CAFFE_MEAN = np.array([122.7717, 115.9465, 102.9801])


class ConversionError(UserError, ValueError):
    """The file is not as expected; the message says what was expected and found."""


def convert(state: Mapping[str, Any], layers: Sequence[str] = tuple(_LAYERS)) -> dict[str, list[np.ndarray]]:
    """Weights and bias, float32, of each of our layers from torchvision's state dict.

    Raises ConversionError listing every missing key and wrong shape.
    """
    _check(state, layers)
    weights = {layer: [np.asarray(state[f"{_LAYERS[layer][0]}.{part}"], dtype=np.float32)
                       for part in ("weight", "bias")] for layer in layers}
    if "conv1_1" in weights:
        weights["conv1_1"] = _for_caffe_images(*weights["conv1_1"])
    return weights


def _for_caffe_images(weight: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    """First convolution for x = pixel - caffe_mean (BGR) from that for t = (pixel / 255 - mean) / std (RGB).

    t = x / (255 std) + shift with shift = (caffe_mean / 255 - mean) / std: the factor is folded into the weights,
    the sum of weights times shift into the bias. The channels are reversed.
    """
    shift = (_CAFFE_MEAN / 255 - _TORCH_MEAN) / _TORCH_STD
    folded = weight.astype(np.float64) / (255 * _TORCH_STD)[:, None, None]
    offset = bias + np.einsum("ncij,c->n", weight.astype(np.float64), shift)
    return [np.ascontiguousarray(folded[:, ::-1], dtype=np.float32), offset.astype(np.float32)]


def _check(state: Mapping[str, Any], layers: Sequence[str]) -> None:
    problems = []
    for layer in layers:
        source, shape = _LAYERS[layer]
        for key, expected in ((f"{source}.weight", shape), (f"{source}.bias", shape[:1])):
            if key not in state:
                problems.append(f"'{key}' ({layer}) is missing")
            elif tuple(state[key].shape) != expected:
                problems.append(f"'{key}' ({layer}) has shape {tuple(state[key].shape)}, expected {expected}")
    if problems:
        raise ConversionError("this is no VGG16 of torchvision (without batch normalisation):\n  "
                              + "\n  ".join(problems))


def write_caffemodel(path: str | Path, name: str, weights: Mapping[str, list[np.ndarray]]) -> None:
    """Write a caffemodel with the blobs of each layer; an existing file is replaced atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        # Concatenated protobuf messages are one message: only one layer is held twice at a time.
        file.write(caffe_pb2.NetParameter(name=name).SerializeToString())
        for layer, blobs in weights.items():
            kind = "Convolution" if blobs[0].ndim == 4 else "InnerProduct"
            message = caffe_pb2.LayerParameter(name=layer, type=kind, blobs=[_blob(array) for array in blobs])
            file.write(caffe_pb2.NetParameter(layer=[message]).SerializeToString())


def _blob(array: np.ndarray) -> caffe_pb2.BlobProto:
    return caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=array.shape), data=array.ravel())


def load_state(path: str | Path) -> Mapping[str, Any]:
    """A state dict from a .pth file (tensors only: a file with code is refused) or a .safetensors file.

    Raises ConversionError for a file that is missing, damaged or of another kind.
    """
    path = Path(path)
    _check_file(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file
            return load_file(path)
        import torch
        state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise ConversionError(f"{path}: a package is needed to read it: pip install {error.name}") from None
    except Exception as error:      # torch.load may raise anything on damaged files, and suggests running their code
        raise ConversionError(f"{path} cannot be read as weights: it is no state dict of tensors alone, or damaged "
                              f"({type(error).__name__})") from error
    if not isinstance(state, Mapping):
        raise ConversionError(f"{path}: expected a dictionary of weights, found {type(state).__name__}")
    return state


def _check_file(path: Path) -> None:
    """Check the SHA-256 prefix in the names of torchvision's files: name-397923af.pth."""
    if not path.is_file():
        raise ConversionError(f"there is no file {path}")
    match = re.search(r"-([0-9a-f]{8})\.(pth|safetensors)$", path.name)
    if match:
        found = sha256_file(path)[:8]
        if found != match[1]:
            raise ConversionError(f"{path} is damaged: its SHA-256 begins with {found}, not with {match[1]}; "
                                  "fetch it again")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="torchvision's VGG16: .pth or .safetensors")
    parser.add_argument("target", help="the caffemodel to write")
    args = parser.parse_args(argv)
    try:
        write_caffemodel(args.target, "VGG_ILSVRC_16_layers", convert(load_state(args.source)))
    except (ConversionError, OSError) as error:
        print(f"convert_weights: {error}", file=sys.stderr)
        return 1
    print(f"wrote {args.target}: {len(_LAYERS)} layers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
