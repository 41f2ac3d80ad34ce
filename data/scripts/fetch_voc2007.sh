#!/usr/bin/env bash
# Fetches PASCAL VOC 2007 (trainval 440 MB, test 430 MB) into data/VOCdevkit2007/VOC2007.
# VOC_URL selects another mirror of the two archives.
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

url=${VOC_URL:-http://host.robots.ox.ac.uk/pascal/VOC/voc2007}
fetch "$url/VOCtrainval_06-Nov-2007.tar" VOCdevkit2007/VOCtrainval_06-Nov-2007.tar \
  md5 c52e279531787c972589f7e41ab4ae64
fetch "$url/VOCtest_06-Nov-2007.tar" VOCdevkit2007/VOCtest_06-Nov-2007.tar \
  md5 b6e924de25625d8de591ea690078ad9f

for archive in VOCdevkit2007/VOC*.tar; do
  tar -xf "$archive" -C VOCdevkit2007 --strip-components=1     # the archives hold VOCdevkit/VOC2007/...
done
echo "PASCAL VOC 2007 is in data/VOCdevkit2007/VOC2007; the archives beside it may be deleted"
