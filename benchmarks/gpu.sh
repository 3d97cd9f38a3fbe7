#!/usr/bin/env bash
# What only a GPU can show, in one command of a few minutes, from a checkout: nothing is installed,
# nothing is fetched. Options: benchmarks/gpu.sh --help. See docs/benchmarks.md.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-}"
for candidate in .venv/bin/python python3 python; do
    if [ -z "$python" ] && "$candidate" -c 'import torch' 2> /dev/null; then python="$candidate"; fi
done
: "${python:?no Python here has PyTorch: name one by PYTHON=...}"
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD/src:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m gpu "$@"
