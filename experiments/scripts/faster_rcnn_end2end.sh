#!/usr/bin/env bash
# Trains RPN and Fast R-CNN jointly in one net, then tests it.
#
#   experiments/scripts/faster_rcnn_end2end.sh GPU NET DATASET [--ohem] [options] [--set KEY VALUE ...]
#   experiments/scripts/faster_rcnn_end2end.sh 0 ZF pascal_voc --set RNG_SEED 42
#   experiments/scripts/faster_rcnn_end2end.sh 0 VGG16 pascal_voc --ohem
#
# --ohem trains with online hard example mining.
# common.sh explains the arguments. For your own data set, write nets for its classes with tools/make_models.py and pass
# their folder: MODELS=my_models experiments/scripts/faster_rcnn_end2end.sh ...
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ohem=
length=(--iters 70000)
if [ "$net" = Tiny ]; then
  length=(--iters 1200)
fi
training=() given= before=
for option in "${options[@]}"; do
  if [ "$before" = --cfg ]; then
    given=$option
  fi
  before=$option
  case $option in
    --ohem) ohem=_ohem; continue ;;
    --epochs | --epochs=*) length=() ;;
    --cfg=*) given=${option#--cfg=} ;;
  esac
  training+=("$option")
done

folder=${MODELS:-models}/$net/faster_rcnn_end2end$ohem
cfg=experiments/cfgs/faster_rcnn_end2end$ohem.yml
weights=(--weights "data/imagenet_models/$net.v2.caffemodel")
if [ "$net" = Tiny ]; then
  cfg=experiments/cfgs/tiny_end2end$ohem.yml
  weights=()          # trains from scratch
fi
cfg=${given:-$cfg}    # for the test too

run train_net.py "${device[@]}" --solver "$folder/solver.pt" "${weights[@]}" \
  --imdb "$train_imdb" "${length[@]}" --cfg "$cfg" "${training[@]}" "${settings[@]}"

final=$(sed -n 's/^Final model: //p' "$log" | tail -n 1)
: "${final:?the training tool printed no line 'Final model: FILE'}"
run test_net.py "${device[@]}" --def "$folder/test.pt" --net "$final" \
  --imdb "$test_imdb" --cfg "$cfg" "${settings[@]}"
