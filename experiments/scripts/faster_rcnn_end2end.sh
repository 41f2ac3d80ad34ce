#!/usr/bin/env bash
# Trains RPN and Fast R-CNN together in one net, then tests it.
#
#   experiments/scripts/faster_rcnn_end2end.sh GPU NET DATASET [options] [--set KEY VALUE ...]
#   experiments/scripts/faster_rcnn_end2end.sh 0 ZF pascal_voc --set RNG_SEED 42
#
# common.sh explains the arguments.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cfg=experiments/cfgs/faster_rcnn_end2end.yml
iters=70000
if [ "$net" = Tiny ]; then
  cfg=experiments/cfgs/tiny_end2end.yml
  iters=1200
fi

run train_net.py "${device[@]}" --solver "models/$net/faster_rcnn_end2end/solver.pt" "${weights[@]}" \
  --imdb "$train_imdb" --iters $iters --cfg $cfg "${train_options[@]}" "${settings[@]}"

final=$(said "Final model")
test_net=$(said "Test net")
run test_net.py "${device[@]}" --def "${test_net:-models/$net/faster_rcnn_end2end/test.pt}" \
  --net "${final:?the training tool printed no line 'Final model: FILE'}" --imdb "$test_imdb" --cfg $cfg "${settings[@]}"
