#!/bin/sh
# Check the GPU engine in ten minutes, on a machine with CuPy, torch and cuDNN but no network.
#
#   sh benchmarks/device/run.sh [OUT] [options of python -m matnet.benchmarks.gpu]
#
# First, on a machine with a network, in the top folder of a checkout:
#
#   python -m pip download --no-deps --only-binary=:all: -d wheels nvidia-cudnn-frontend pooch platformdirs
#
# To check agreement on real images, copy caffe/squeezenet and images/imagenet100 to the folder real-data, or set
# MATNET_REAL_DATA. Figures as JSON and Markdown and the fastest plans are written to OUT (default: gpu-out). Copy its
# plans.json to the top folder to reuse the plans in the next run.
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
