"""Which field of LayerParameter holds the settings of a layer type."""
from __future__ import annotations

from . import caffe_pb2

# Fields of data_param, image_data_param and window_data_param that are now in transform_param. The upgrade of V1 nets
# moves them; as in Caffe, they have no effect in current nets (except for window_data_param.scale)
MOVED_TO_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")

# Layer types whose settings are in another type's message.
_BORROWED_PARAM = {"ConvolutionDepthwise": "convolution_param", "Deconvolution": "convolution_param",
                   "CTCGreedyDecoder": "ctc_decoder_param", "CtcLoss": "ctc_loss_param",
                   "WarpCTCLoss": "ctc_loss_param",
                   "ImageLabelmapData": "image_data_param", "ImageSegData": "image_data_param",
                   "DepthwiseConvolution": "convolution_param", "LSTM": "recurrent_param", "RNN": "recurrent_param"}


def _param_fields() -> dict[str, str]:
    """LayerParameter's field with the settings of a layer type: {'Convolution': 'convolution_param', ...}."""
    fields = {field.message_type.name.removesuffix("Parameter"): field.name
              for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields
              if field.name.endswith("_param") and field.message_type is not None}
    return fields | _BORROWED_PARAM


PARAM_FIELDS = _param_fields()


def settings_field(type_name: str) -> str | None:
    """The field of LayerParameter with the settings of a layer type, such as 'convolution_param'; None without one."""
    return PARAM_FIELDS.get(type_name)
