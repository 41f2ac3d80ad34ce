#!/usr/bin/env bash
# ImageNet weights that training starts from: data/imagenet_models/<net>.v2.caffemodel.
#
#   data/scripts/fetch_imagenet_models.sh [NET ...]       default: VGG16
#
#   VGG16        torchvision's VGG16 (528 MB)
#   VGG16_convs  the convolutions of the original VGG16, trained with Caffe, without fc6 and fc7 (528 MB):
#                --weights data/imagenet_models/VGG16_convs.v2.caffemodel
#   SqueezeNet   torchvision's SqueezeNet v1.1 (5 MB)
#
# They are converted with tools/convert_weights.py, which explains the changes.
#
# The archive of py-faster-rcnn with VGG16, ZF and VGG_CNN_M_1024 is no longer on its old server. If you have
# it, put it at data/imagenet_models.tgz and this script checks and unpacks it instead of fetching VGG16.
# PYTHON names the interpreter, by default that of .venv; it needs torch and protobuf.
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

url=${WEIGHTS_URL:-https://download.pytorch.org/models}

# fetch_net NET FILE DIGEST: fetches torchvision's weights and converts them.
# Only the first 8 digits of the SHA-256 are published, in the file name.
fetch_net() {
  local source=imagenet_models/$2-$3.pth target=imagenet_models/$1.v2.caffemodel
  fetch "$url/$2-$3.pth" "$source" sha256 "$3"
  "$python" ../tools/convert_weights.py "$source" "$target"
  echo "$1 is in data/$target; the .pth file beside it may be deleted"
}

nets=("$@")
if [ $# = 0 ]; then
  nets=(VGG16)
fi
for net in "${nets[@]}"; do         # all names are checked before anything is fetched
  case $net in
    VGG16 | VGG16_convs | SqueezeNet) ;;
    *) echo "unknown net '$net': choose VGG16, VGG16_convs or SqueezeNet" >&2; exit 2 ;;
  esac
done
for net in "${nets[@]}"; do
  case $net in
    VGG16)
      use_archive imagenet_models.tgz ed34ca912d6782edfb673a8c3a0bda6d || fetch_net VGG16 vgg16 397923af ;;
    VGG16_convs) fetch_net VGG16_convs vgg16_features-amdegroot 88682ab5 ;;
    SqueezeNet) fetch_net SqueezeNet squeezenet1_1 b8a52dc0 ;;
  esac
done
