"""The convolutions shared by the RPN and Fast R-CNN: from the image to a feature map of stride 16.

A trunk is `trunk(n, data, param, filler)`: it adds its layers to the NetSpec `n` and returns the last one.
`param(group)` returns the `param` setting of the convolutions of a group (1 to 5), `filler` is their `weight_filler`;
both are {} if the prototxt has none.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P
from caffe.net_spec import Top

Settings = Mapping[str, object]     # keywords of a layer, such as {'num_output': 64, 'kernel_size': 3}
Param = Callable[[int], Settings]
Trunk = Callable[[NetSpec, Top, Param, Settings], Top]


def _convolution(n: NetSpec, index: str, bottom: Top, **settings: object) -> Top:
    """conv<index>, followed by an in-place relu<index>."""
    n[f"conv{index}"] = L.Convolution(bottom, **settings)
    n[f"relu{index}"] = L.ReLU(n[f"conv{index}"], in_place=True)
    return n[f"relu{index}"]


def vgg_trunk(n: NetSpec, data: Top, param: Param, filler: Settings, *,
              groups: Sequence[tuple[int, int]]) -> Top:
    """3x3 convolutions in groups of (channels, layers), 2x2 max pooling between the groups."""
    top = data
    for group, (channels, count) in enumerate(groups, 1):
        for index in range(1, count + 1):
            top = _convolution(n, f"{group}_{index}", top, num_output=channels, pad=1, kernel_size=3,
                               **param(group), **filler)
        if group < len(groups):
            n[f"pool{group}"] = top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    return top


# Very deep nets, configuration D with 16 layers (Simonyan and Zisserman, arXiv:1409.1556)
vgg16_trunk = partial(vgg_trunk, groups=[(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)])
# Few channels while the map is large: most of the work comes after the second pooling.
tiny_trunk = partial(vgg_trunk, groups=[(16, 1), (32, 1), (64, 1), (96, 1), (128, 2)])


def _five_convolutions(n: NetSpec, data: Top, param: Param, filler: Settings, *, first: Settings, second: Settings,
                       channels: Sequence[int], norm: Settings, pool: Settings) -> Top:
    """Two convolutions, each followed by normalisation and pooling, then three 3x3 convolutions."""
    top = data
    for group, settings in enumerate((first, second), 1):
        top = _convolution(n, str(group), top, stride=2, **param(group), **settings, **filler)
        n[f"norm{group}"] = top = L.LRN(top, **norm)
        n[f"pool{group}"] = top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2, **pool)
    for group, count in enumerate(channels, 3):
        top = _convolution(n, str(group), top, num_output=count, pad=1, kernel_size=3, **param(group), **filler)
    return top


# The medium net of Chatfield et al. (arXiv:1405.3531), with 1024 outputs in fc7
vgg_cnn_m_trunk = partial(
    _five_convolutions, channels=(512, 512, 512), pool={},
    first=dict(num_output=96, kernel_size=7), second=dict(num_output=256, pad=1, kernel_size=5),
    norm=dict(local_size=5, alpha=0.0005, beta=0.75, k=2))

# Zeiler and Fergus (arXiv:1311.2901), as trained for SPP-net: padded, normalised within the channel
zf_trunk = partial(
    _five_convolutions, channels=(384, 384, 256), pool=dict(pad=1),
    first=dict(num_output=96, pad=3, kernel_size=7), second=dict(num_output=256, pad=2, kernel_size=5),
    norm=dict(local_size=3, alpha=0.00005, beta=0.75, norm_region=P.LRN.WITHIN_CHANNEL))


def _fire(n: NetSpec, name: str, bottom: Top, squeezed: int, expanded: int, **settings: object) -> Top:
    """A 1x1 convolution to few channels; a 1x1 and a 3x3 convolution of these, concatenated."""
    tops = []
    for part, source, shape in (("squeeze1x1", None, dict(num_output=squeezed, kernel_size=1)),
                                ("expand1x1", "squeeze1x1", dict(num_output=expanded, kernel_size=1)),
                                ("expand3x3", "squeeze1x1", dict(num_output=expanded, pad=1, kernel_size=3))):
        layer = f"{name}/{part}"
        n[layer] = L.Convolution(n[f"{name}/relu_{source}"] if source else bottom, **shape, **settings)
        n[f"{name}/relu_{part}"] = L.ReLU(n[layer], in_place=True)
        tops.append(n[f"{name}/relu_{part}"])
    n[f"{name}/concat"] = L.Concat(*tops[1:])
    return n[f"{name}/concat"]


def squeezenet_trunk(n: NetSpec, data: Top, param: Param, filler: Settings) -> Top:
    """SqueezeNet v1.1 (Iandola et al., arXiv:1602.07360) to fire9: stride 16, 512 channels.

    Group 1 is conv1, fire2 and fire3; groups 2 to 5 are fire4 and fire5, fire6 and fire7, fire8, fire9.
    """
    top = _convolution(n, "1", data, num_output=64, kernel_size=3, stride=2, **param(1), **filler)
    for index, group, squeezed, expanded in ((2, 1, 16, 64), (3, 1, 16, 64), (4, 2, 32, 128), (5, 2, 32, 128),
                                             (6, 3, 48, 192), (7, 3, 48, 192), (8, 4, 64, 256), (9, 5, 64, 256)):
        if index in (2, 4, 6):
            pool = f"pool{index - 1}"
            n[pool] = top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2)
        top = _fire(n, f"fire{index}", top, squeezed, expanded, **param(group), **filler)
    return top
