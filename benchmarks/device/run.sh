#!/bin/sh
# The check of the GPU engine in one call of ten minutes, on a machine with CuPy, torch and cuDNN but no network.
#
#   sh benchmarks/device/run.sh [OUT] [options of python -m matnet.benchmarks.gpu]
#
# Before, where there is a network, in the top folder of a checkout:
#
#   python -m pip download --no-deps --only-binary=:all: -d wheels nvidia-cudnn-frontend pooch platformdirs
#
# and, for agreement over real images, a copy of caffe/squeezenet and images/imagenet100 in the folder real-data, or
# MATNET_REAL_DATA set. OUT (default: gpu-out) gets figures as JSON and Markdown and the names of the fastest plans;
# plans.json copied to the top folder saves the next call timing them again.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-gpu-out}
[ $# -eq 0 ] || shift
mkdir -p "$out"
packages=$(mktemp -d)
if [ -d wheels ]; then
    python3 -m pip install --quiet --no-index --no-deps --find-links wheels --target "$packages" wheels/*.whl
fi
if [ -z "${MATNET_REAL_DATA:-}" ] && [ -d real-data ]; then
    MATNET_REAL_DATA=$PWD/real-data
    export MATNET_REAL_DATA
fi
[ ! -f plans.json ] || cp plans.json "$out/plans.json"
MATNET_HOME=$(mktemp -d)
export MATNET_HOME
PYTHONUNBUFFERED=1 PYTHONPATH=$PWD:$packages${PYTHONPATH:+:$PYTHONPATH} exec python3 -m matnet.benchmarks.gpu \
    --plans "$out/plans.json" --json "$out/gpu.json" --markdown "$out/gpu.md" "$@"
