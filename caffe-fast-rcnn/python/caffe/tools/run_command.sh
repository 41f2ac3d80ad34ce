# Sourced by the programs beside this file: runs `python -m caffe COMMAND` with a Python that has PyTorch.
#
# These programs are called by path, often without an active environment. Candidates, in order: the Python whose script
# called us, the active environment, environments in this folder and its parents, the Pythons on PATH.

has_torch() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c \
        'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' 2>/dev/null
}

calling_python() {
    program=$(tr '\0' '\n' 2>/dev/null < "/proc/$PPID/cmdline" | head -n 1)
    case ${program##*/} in python*) echo "$program" ;; esac
}

environments_around() {
    folder=$1
    while [ "$folder" != / ]; do
        echo "$folder/bin/python"
        echo "$folder/.venv/bin/python"
        folder=$(dirname "$folder")
    done
}

# run_command FOLDER COMMAND ARGUMENTS...: FOLDER contains the calling program
run_command() {
    packages=$(cd "$1/../.." && pwd)
    shift
    IFS='
'
    for python in $(calling_python; echo "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}"; environments_around "$packages") \
            python3 python; do
        if has_torch "$python"; then
            PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m caffe "$@"
        fi
    done
    echo "$1: found no Python with PyTorch; activate the environment in which caffe is installed" >&2
    exit 2
}
