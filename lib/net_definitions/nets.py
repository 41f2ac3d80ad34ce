"""Our nets: one short definition each."""
from __future__ import annotations

from dataclasses import dataclass, field, replace

from utils.layer_params import ANCHOR_SCALES

from .trunks import Settings, Trunk, squeezenet_trunk, tiny_trunk, vgg16_trunk, vgg_cnn_m_trunk, zf_trunk

_MSRA: Settings = dict(weight_filler=dict(type="msra"))


def gaussian(std: float) -> Settings:
    """Fillers of a layer: normally distributed weights, biases of zero."""
    return dict(weight_filler=dict(type="gaussian", std=std), bias_filler=dict(type="constant", value=0))


def gaussian_for(inputs: int) -> Settings:
    """`gaussian` with the standard deviation 1 / sqrt(3 * inputs), to two digits, that of PyTorch's linear layers."""
    return gaussian(float(f"{(3 * inputs) ** -0.5:.2g}"))


@dataclass(frozen=True)
class Schedule:
    """A solver's schedule: the learning rate drops to a tenth every `stepsize` iterations."""

    base_lr: float
    stepsize: int
    average_loss: int = 100     # iterations over which the displayed loss is averaged
    iter_size: int = 1          # batches accumulated per update


@dataclass(frozen=True)
class Net:
    """A trunk, and the sizes and names of the heads on it."""

    name: str                           # folder in models/ and name for --net_name
    title: str                          # `name:` of the prototxts
    trunk: Trunk
    frozen_groups: int                  # number of leading convolution groups that are never trained
    feature_channels: int               # of the trunk's last convolution
    rpn_channels: int                   # of the RPN's 3x3 convolution
    pool_size: int                      # RoI pooling outputs pool_size x pool_size cells
    fc_sizes: tuple[int, int]           # outputs of fc6 and fc7
    roi_layer: str = "ROIPooling"       # one of utils.names.ROI_LAYERS
    feature_scale: float = 1.0          # factor for the trunk's output before the RoI head
    pool_names: tuple[str, str] = ("roi_pool5", "pool5")        # layer and blob of RoI pooling
    # Layers and blob of the RPN's convolution: weights are found by layer name
    rpn_names: tuple[str, str, str] = ("rpn_conv/3x3", "rpn_relu/3x3", "rpn/output")
    alt_opt_rpn_names: tuple[str, str, str] | None = None       # if different after alternating optimisation
    dropout: Settings = field(default_factory=lambda: dict(dropout_ratio=0.5))      # {} for none
    # Fillers, for training without pretrained weights: of the trunk's convolutions; of fc6 and fc7
    trunk_filler: Settings = field(default_factory=lambda: _MSRA)
    fc_fillers: tuple[Settings, Settings] = field(default_factory=lambda: (gaussian(0.005), gaussian(0.01)))
    output_fillers: tuple[Settings, Settings] | None = field(      # of cls_score and bbox_pred; None: `gaussian_for`
        default_factory=lambda: (gaussian(0.01), gaussian(0.001)))
    scales: tuple[float, ...] = ANCHOR_SCALES                   # anchors of the shipped files
    rpn: Schedule = Schedule(0.001, 60000)
    fast_rcnn: Schedule = Schedule(0.001, 30000)
    end2end: Schedule = Schedule(0.001, 50000, iter_size=2)
    has_published_head: bool = True     # whether there are pretrained weights of fc6 and fc7
    from_scratch: bool = False          # whether training starts from random weights unless others are given
    settings_file: str | None = None    # in experiments/cfgs, if the net has settings of its own

    @property
    def fc6_inputs(self) -> int:
        """Number of inputs of fc6: the channels of every cell of RoI pooling."""
        return self.feature_channels * self.pool_size ** 2

    def with_fc_sizes(self, fc6: int | None, fc7: int | None) -> Net:
        """The net with other numbers of outputs of fc6 and fc7; None keeps one. Raises ValueError below 1.

        Published weights do not fit such a head, which then has no dropout and starts from larger weights after fc6.
        """
        for name, size in (("fc6", fc6), ("fc7", fc7)):
            if size is not None and size < 1:
                raise ValueError(f"{name} with {size} outputs: at least 1 is needed")
        sizes = (fc6 or self.fc_sizes[0], fc7 or self.fc_sizes[1])
        net = replace(self, fc_sizes=sizes)
        if sizes == self.fc_sizes or not self.has_published_head:
            return net
        fillers = gaussian_for(self.fc6_inputs), gaussian_for(sizes[0])
        return replace(net, dropout={}, fc_fillers=fillers, output_fillers=None)


NETS = {net.name: net for net in (
    Net("VGG16", "VGG_ILSVRC_16_layers", vgg16_trunk, frozen_groups=2, feature_channels=512, rpn_channels=512,
        pool_size=7, fc_sizes=(4096, 4096)),
    Net("VGG_CNN_M_1024", "VGG_CNN_M_1024", vgg_cnn_m_trunk, frozen_groups=1, feature_channels=512,
        rpn_channels=256, pool_size=6, fc_sizes=(4096, 1024), end2end=Schedule(0.001, 50000)),
    # Its published weights use other names after alternating optimisation than after end-to-end training, and
    # were trained with dropout that scales at test time instead of training.
    Net("ZF", "ZF", zf_trunk, frozen_groups=0, feature_channels=256, rpn_channels=256, pool_size=6,
        fc_sizes=(4096, 4096), pool_names=("roi_pool_conv5", "roi_pool_conv5"),
        alt_opt_rpn_names=("rpn_conv1", "rpn_relu1", "rpn_conv1"),
        dropout=dict(dropout_ratio=0.5, scale_train=False)),
    # Starts from 5 MB of ImageNet weights and trains in minutes on two CPU cores. No weights are published for its
    # head, which learns fastest from inputs of about unit size (the trunk's have a root mean square of 7 to 11).
    Net("SqueezeNet", "SqueezeNet v1.1", squeezenet_trunk, frozen_groups=1, feature_channels=512, rpn_channels=256,
        pool_size=7, fc_sizes=(256, 256), roi_layer="ROIAlign", feature_scale=0.1, dropout={},
        fc_fillers=(_MSRA, _MSRA), output_fillers=None, has_published_head=False),
    # For small objects, trained from scratch on two CPU cores in 800, 400, 800 and 400 iterations.
    Net("Tiny", "Tiny", tiny_trunk, frozen_groups=0, feature_channels=128, rpn_channels=128, pool_size=7,
        fc_sizes=(256, 256), dropout={}, fc_fillers=(_MSRA, _MSRA), scales=(2, 4, 8),
        rpn=Schedule(0.02, 600, average_loss=20), fast_rcnn=Schedule(0.005, 300, average_loss=20),
        end2end=Schedule(0.01, 900, average_loss=20), has_published_head=False, from_scratch=True,
        settings_file="tiny.yml"),
)}
