#!/usr/bin/env bash
# Trains Faster R-CNN with hard example mining by alternating optimisation, then tests it.
#
#   experiments/scripts/faster_rcnn_alt_opt.sh GPU NET DATASET [options] [--set KEY VALUE ...]
#   experiments/scripts/faster_rcnn_alt_opt.sh 0 VGG16 pascal_voc --set RNG_SEED 42 TRAIN.SCALES "[400, 600]"
#   experiments/scripts/faster_rcnn_alt_opt.sh cpu Tiny path/to/BCCD:train,path/to/BCCD:test
#   experiments/scripts/faster_rcnn_alt_opt.sh 0 ZF pascal_voc --resume
#   experiments/scripts/faster_rcnn_alt_opt.sh 0 ZF pascal_voc --no_ohem
#
# common.sh explains the arguments.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cfg=experiments/cfgs/faster_rcnn_alt_opt.yml
if [ "$net" = Tiny ]; then
  cfg=experiments/cfgs/tiny.yml
elif [[ " ${options[*]} " == *" --no_ohem "* ]]; then
  cfg=experiments/cfgs/faster_rcnn_alt_opt_no_ohem.yml
fi

run train_faster_rcnn_alt_opt.py "${device[@]}" --net_name "$net" --imdb "$train_imdb" \
  --test_imdb "$test_imdb" --cfg $cfg "${options[@]}" "${settings[@]}"
