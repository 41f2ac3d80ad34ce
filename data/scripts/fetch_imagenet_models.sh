#!/usr/bin/env bash
# ImageNet weights that training starts from: data/imagenet_models/<net>.v2.caffemodel.
#
# The archive of py-faster-rcnn with VGG16, ZF and VGG_CNN_M_1024 is no longer on its old server. If you have
# it, put it at data/imagenet_models.tgz and this script checks and unpacks it. Otherwise it fetches
# torchvision's VGG16 (528 MB) and converts it to a caffemodel with tools/convert_weights.py, which explains
# the changes.
# PYTHON names the interpreter, by default that of .venv; it needs torch and protobuf.
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

if use_archive imagenet_models.tgz ed34ca912d6782edfb673a8c3a0bda6d; then
  exit
fi
# Only the first 8 digits of the SHA-256 are published, in the file name.
source=imagenet_models/vgg16-397923af.pth
fetch "${VGG16_URL:-https://download.pytorch.org/models/vgg16-397923af.pth}" $source sha256 397923af
"$python" ../tools/convert_weights.py $source imagenet_models/VGG16.v2.caffemodel
echo "VGG16 is in data/imagenet_models/VGG16.v2.caffemodel; the .pth file beside it may be deleted"
