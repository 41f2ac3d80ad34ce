#!/usr/bin/env python3
"""Converts weights published by torchvision to a caffemodel for our nets.

Nets trained by torchvision take RGB images scaled to 0..1 and normalised by a mean and a standard deviation; Caffe's
nets take BGR images in 0..255 minus another mean. Both differences are folded into the first convolution, so that the
same image yields the same features. VGG16's features differ slightly next to the image border: zero padding amounts to
padding with the mean, and the two means differ by up to one grey level. For the convolutions of the original, only the
order of the channels is reversed.
"""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _init_paths  # noqa: F401  # first: reports packages that are not installed

# isort: split
import numpy as np

from caffe.proto import caffe_pb2
from commands.options import make_parser, tool
from utils.errors import UserError
from utils.files import atomic_path, sha256_file

EXAMPLES = """\
  tools/convert_weights.py vgg16-397923af.pth data/imagenet_models/VGG16.v2.caffemodel
      VGG16 trained by torchvision
  tools/convert_weights.py vgg16_features-amdegroot-88682ab5.pth data/imagenet_models/VGG16_convs.v2.caffemodel
      the convolutions of the original VGG16, trained with Caffe, without fc6 and fc7
  tools/convert_weights.py squeezenet1_1-b8a52dc0.pth data/imagenet_models/SqueezeNet.v2.caffemodel
      SqueezeNet v1.1
"""
# Our layer's name: torchvision's name, and the shape of the weights (outputs, inputs, height, width)
Layers = dict[str, tuple[str, tuple[int, ...]]]
_VGG16_CONVOLUTIONS: Layers = {
    "conv1_1": ("features.0", (64, 3, 3, 3)), "conv1_2": ("features.2", (64, 64, 3, 3)),
    "conv2_1": ("features.5", (128, 64, 3, 3)), "conv2_2": ("features.7", (128, 128, 3, 3)),
    "conv3_1": ("features.10", (256, 128, 3, 3)), "conv3_2": ("features.12", (256, 256, 3, 3)),
    "conv3_3": ("features.14", (256, 256, 3, 3)), "conv4_1": ("features.17", (512, 256, 3, 3)),
    "conv4_2": ("features.19", (512, 512, 3, 3)), "conv4_3": ("features.21", (512, 512, 3, 3)),
    "conv5_1": ("features.24", (512, 512, 3, 3)), "conv5_2": ("features.26", (512, 512, 3, 3)),
    "conv5_3": ("features.28", (512, 512, 3, 3)),
}
_VGG16_CLASSIFIER: Layers = {
    # fc6 reads 512 channels x 7 x 7 cells; both flatten them in this order
    "fc6": ("classifier.0", (4096, 25088)), "fc7": ("classifier.3", (4096, 4096)),
    "fc8": ("classifier.6", (1000, 4096)),
}


def _squeezenet_layers() -> Layers:
    layers: Layers = {"conv1": ("features.0", (64, 3, 3, 3))}
    inputs = 64
    for fire, index, squeezed, expanded in ((2, 3, 16, 64), (3, 4, 16, 64), (4, 6, 32, 128), (5, 7, 32, 128),
                                            (6, 9, 48, 192), (7, 10, 48, 192), (8, 11, 64, 256), (9, 12, 64, 256)):
        for ours, theirs, shape in (("squeeze1x1", "squeeze", (squeezed, inputs, 1, 1)),
                                    ("expand1x1", "expand1x1", (expanded, squeezed, 1, 1)),
                                    ("expand3x3", "expand3x3", (expanded, squeezed, 3, 3))):
            layers[f"fire{fire}/{ours}"] = (f"features.{index}.{theirs}", shape)
        inputs = 2 * expanded
    return layers | {"conv10": ("classifier.1", (1000, 512, 1, 1))}


class Source(NamedTuple):
    """A supported set of published weights."""

    title: str
    caffe_name: str                 # `name` of the caffemodel
    layers: Layers
    scaled: bool                    # trained on normalised images (see above); else on Caffe's, but in RGB order


VGG16 = Source("torchvision's VGG16", "VGG_ILSVRC_16_layers", _VGG16_CONVOLUTIONS | _VGG16_CLASSIFIER, scaled=True)
VGG16_CONVOLUTIONS = Source("the convolutions of the original VGG16", "VGG_ILSVRC_16_layers", _VGG16_CONVOLUTIONS,
                            scaled=False)
SQUEEZENET = Source("torchvision's SqueezeNet v1.1", "SqueezeNet_v1.1", _squeezenet_layers(), scaled=True)
# First weight of the original's conv1_1: output 0, channel R, upper left corner
_ORIGINAL_WEIGHT = 0.4800154

# Per channel R, G, B; torchvision's are for images in 0..1, Caffe's (cfg.PIXEL_MEANS) for 0..255
_TORCH_MEAN, _TORCH_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CAFFE_MEAN = np.array([122.7717, 115.9465, 102.9801])


class ConversionError(UserError, ValueError):
    """The file cannot be converted; the message says what was expected and found."""


def source_of(state: Mapping[str, Any]) -> Source:
    """Identify the weights by their names and, for VGG16, by whether the classifier has values.

    torchvision publishes the original's convolutions with a classifier without meaningful values.
    """
    if "features.3.squeeze.weight" in state:
        return SQUEEZENET
    if "classifier.0.weight" in state:
        outputs = np.asarray(state["classifier.0.weight"][0], dtype=np.float32)
        has_values = bool(np.isfinite(outputs).all() and np.ptp(outputs) > 0)
    else:
        first = state.get("features.0.weight")
        has_values = first is None or abs(float(np.ravel(first)[0]) - _ORIGINAL_WEIGHT) > 1e-6
    return VGG16 if has_values else VGG16_CONVOLUTIONS


def convert(state: Mapping[str, Any], source: Source) -> dict[str, list[np.ndarray]]:
    """Weights and bias (float32) of each of our layers, from a state dict of torchvision.

    Raises ConversionError listing every missing key and wrong shape.
    """
    _check(state, source)
    weights = {layer: [np.asarray(state[f"{name}.{part}"], dtype=np.float32) for part in ("weight", "bias")]
               for layer, (name, _) in source.layers.items()}
    first = next(iter(weights))
    if source.scaled:
        weights[first] = _for_caffe_images(*weights[first])
    else:
        weights[first][0] = np.ascontiguousarray(weights[first][0][:, ::-1])
    return weights


def _for_caffe_images(weight: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    """Convert a first convolution for t = (pixel / 255 - mean) / std (RGB) to x = pixel - caffe_mean (BGR).

    t = x / (255 std) + shift with shift = (caffe_mean / 255 - mean) / std: the factor is folded into the weights,
    the sum of weights times shift into the bias, and the channels are reversed.
    """
    shift = (_CAFFE_MEAN / 255 - _TORCH_MEAN) / _TORCH_STD
    folded = weight.astype(np.float64) / (255 * _TORCH_STD)[:, None, None]
    offset = bias + np.einsum("ncij,c->n", weight.astype(np.float64), shift)
    return [np.ascontiguousarray(folded[:, ::-1], dtype=np.float32), offset.astype(np.float32)]


def _check(state: Mapping[str, Any], source: Source) -> None:
    problems = []
    for layer, (name, shape) in source.layers.items():
        for key, expected in ((f"{name}.weight", shape), (f"{name}.bias", shape[:1])):
            if key not in state:
                problems.append(f"'{key}' ({layer}) is missing")
            elif tuple(state[key].shape) != expected:
                problems.append(f"'{key}' ({layer}) has shape {tuple(state[key].shape)}, expected {expected}")
    if problems:
        raise ConversionError("this is not torchvision's VGG16 (without batch normalisation) or SqueezeNet v1.1; "
                              f"compared with {source.title}:\n  " + "\n  ".join(problems))


def write_caffemodel(path: str | Path, name: str, weights: Mapping[str, list[np.ndarray]]) -> None:
    """Write a caffemodel with the blobs of each layer, atomically replacing an existing file."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        # Concatenated protobuf messages form one message: only one layer at a time is copied in memory.
        file.write(caffe_pb2.NetParameter(name=name).SerializeToString())
        for layer, blobs in weights.items():
            kind = "Convolution" if blobs[0].ndim == 4 else "InnerProduct"
            message = caffe_pb2.LayerParameter(name=layer, type=kind, blobs=[_blob(array) for array in blobs])
            file.write(caffe_pb2.NetParameter(layer=[message]).SerializeToString())


def _blob(array: np.ndarray) -> caffe_pb2.BlobProto:
    return caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=array.shape), data=array.ravel())


def load_state(path: str | Path) -> Mapping[str, Any]:
    """Load a state dict from a .pth file (tensors only: pickled code is rejected) or a .safetensors file.

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
        raise ConversionError(f"{path} cannot be read as weights: it is damaged, or not a state dict of tensors only "
                              f"({type(error).__name__})") from error
    if not isinstance(state, Mapping):
        raise ConversionError(f"{path}: expected a dictionary of weights, found {type(state).__name__}")
    return state


def _check_file(path: Path) -> None:
    """Check the SHA-256 prefix in a torchvision file name such as vgg16-397923af.pth."""
    if not path.is_file():
        raise ConversionError(f"there is no file {path}")
    match = re.search(r"-([0-9a-f]{8})\.(pth|safetensors)$", path.name)
    if match:
        found = sha256_file(path)[:8]
        if found != match[1]:
            raise ConversionError(f"{path} is damaged: its SHA-256 begins with {found}, not with {match[1]}; "
                                  "download it again")


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    result.add_argument("source", help="weights published by torchvision: .pth or .safetensors")
    result.add_argument("target", help="caffemodel to write")
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    state = load_state(args.source)
    source = source_of(state)
    write_caffemodel(args.target, source.caffe_name, convert(state, source))
    print(f"{args.source}: {source.title}; wrote {len(source.layers)} layers to {args.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
