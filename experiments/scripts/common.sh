# Shared by the experiment scripts, which source this file with their arguments. Do not run it.
#
#   GPU NET DATASET [options of the training tool] [--set KEY VALUE ...]
#
# GPU      number of the GPU, or cpu
# NET      a folder in models/: VGG16, VGG_CNN_M_1024, ZF, SqueezeNet, Tiny
# DATASET  pascal_voc, or two data sets TRAIN,TEST: voc_2007_train,voc_2007_val or cells:train,cells:test
# Settings after --set go to training and testing, other options to training only.
# PYTHON selects the interpreter; the default is that of .venv if it exists, else python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=.venv/bin/python
[ -x $python ] || python=python3
python=${PYTHON:-$python}

method=$(basename "$0" .sh)
if [ $# -lt 3 ]; then
  echo "usage: $0 GPU|cpu NET DATASET [options] [--set KEY VALUE ...]" >&2
  exit 2
fi
gpu=$1 net=$2 dataset=$3
shift 3

case $dataset in
  pascal_voc) train_imdb=voc_2007_trainval test_imdb=voc_2007_test ;;
  *,*) train_imdb=${dataset%%,*} test_imdb=${dataset#*,} ;;
  *) echo "unknown data set '$dataset': expected pascal_voc, or two names as TRAIN,TEST" >&2; exit 2 ;;
esac
if [ ! -d "models/$net" ]; then
  echo "unknown net '$net': choose one of $(ls -m models)" >&2
  exit 2
fi

device=(--gpu "$gpu")
if [ "$gpu" = cpu ]; then
  device=(--cpu)
fi

options=()
while [ $# -gt 0 ] && [ "$1" != --set ]; do
  options+=("$1")
  shift
done
settings=("$@")

export PYTHONUNBUFFERED=1
mkdir -p output/logs
log="output/logs/${method}_${net}_${dataset//[^[:alnum:]_-]/_}_$(date +%Y-%m-%d_%H-%M-%S).txt"
echo "log: $log"

# run TOOL ARGUMENTS...: runs a program in tools/; command, output and time go to the screen and the log.
# tee -i ignores Ctrl-C, so that the log has what the tool prints while it stops.
run() {
  local tool=tools/$1
  shift
  {
    echo "+ $tool $*"
    time "$python" "$tool" "$@"
  } 2>&1 | tee -i -a "$log"
}
