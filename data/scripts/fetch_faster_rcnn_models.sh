#!/usr/bin/env bash
# Detectors that py-faster-rcnn published for PASCAL VOC (VGG16 and ZF): data/faster_rcnn_models/*.caffemodel.
#
# Their archive is no longer on its old server. If you have it, put it at data/faster_rcnn_models.tgz, or pass
# its current address: data/scripts/fetch_faster_rcnn_models.sh [URL]. The script checks that it is the
# published file.
source "$(dirname "${BASH_SOURCE[0]}")/fetch.sh"

digest=ac116844f66aefe29587214272054668
if [ $# -gt 0 ]; then
  fetch "$1" faster_rcnn_models.tgz md5 $digest
fi
use_archive faster_rcnn_models.tgz $digest || {
  echo "faster_rcnn_models.tgz (695 MB, md5 $digest) has no public address any more." >&2
  echo "Put it into data/ or give a URL as argument and start again." >&2
  exit 1
}
