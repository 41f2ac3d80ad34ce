#!/usr/bin/env bash
# Trains Faster R-CNN with hard example mining by alternating optimisation, then tests it.
#
#   experiments/scripts/faster_rcnn_alt_opt.sh GPU NET DATASET [options] [--set KEY VALUE ...]
#   experiments/scripts/faster_rcnn_alt_opt.sh 0 VGG16 pascal_voc --set RNG_SEED 42 TRAIN.SCALES "[400, 600]"
#   experiments/scripts/faster_rcnn_alt_opt.sh cpu Tiny data/BCCD:train,data/BCCD:test
#
# common.sh explains the arguments.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cfg=experiments/cfgs/faster_rcnn_alt_opt.yml
if [ "$net" = Tiny ]; then
  cfg=experiments/cfgs/tiny.yml
fi

run train_faster_rcnn_alt_opt.py "${device[@]}" --net_name "$net" "${weights[@]}" --imdb "$train_imdb" \
  --cfg $cfg "${train_options[@]}" "${settings[@]}"

# The trainer says what it made; where the data set has its own classes, the test net lies beside the model.
final=$(said "Final model")
test_net=$(said "Test net")
run test_net.py "${device[@]}" --def "${test_net:-models/$net/faster_rcnn_alt_opt/faster_rcnn_test.pt}" \
  --net "${final:?the training tool printed no line 'Final model: FILE'}" --imdb "$test_imdb" --cfg $cfg "${settings[@]}"
