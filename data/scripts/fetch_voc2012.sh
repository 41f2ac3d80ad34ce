#!/usr/bin/env bash
# Fetches PASCAL VOC 2012 trainval (2.0 GB) into data/VOCdevkit2012/VOC2012.
# VOC_URL selects another mirror of the archive. The images of 2012's test set are available to registered users of VOC's
# evaluation server only; their annotations are not published.
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

archive=VOCdevkit2012/VOCtrainval_11-May-2012.tar
fetch "${VOC_URL:-http://host.robots.ox.ac.uk/pascal/VOC/voc2012}/$(basename $archive)" $archive \
  md5 6cd6e144f989b92b3379bac3b3de84fd
tar -xf $archive -C VOCdevkit2012 --strip-components=1      # it holds VOCdevkit/VOC2012/...
echo "PASCAL VOC 2012 is in data/VOCdevkit2012/VOC2012; the archive beside it may be deleted"
