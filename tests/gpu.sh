#!/usr/bin/env bash
# What must hold on a GPU, in under ten minutes on a bare machine with PyTorch:
#
#   tests/gpu.sh                       # all of it, on CUDA
#   tests/gpu.sh --device cpu --small  # the same steps on small pictures, to try the script itself
#   tests/gpu.sh --authors SS-BSN      # also time the code of SS-BSN's authors, from a checkout of
#                                      # https://github.com/YoungJooHan/SS-BSN
#
# It runs the tests marked gpu and the README's line on a photo, compares results with the CPU's, and
# prints seconds per megapixel and memory. It installs nothing if ssbsn can be imported, else it makes
# an environment that sees the machine's PyTorch. PYTHON names another interpreter.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
device=cuda
options=()
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=$2; shift ;;
    --small) options+=(--small) ;;
    --authors) options+=(--authors "$(cd "$2" && pwd)"); shift ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift
done
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export SSBSN_CACHE=$place/cache
# What is here counts, also if another ssbsn is installed.
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python3}
if ! "$python" -c 'import ssbsn_cli, pytest' 2>/dev/null; then
  "$python" -m venv --system-site-packages "$place/venv"
  python=$place/venv/bin/python
  "$python" -m pip install -q -e "$root" pytest pytest-xdist hypothesis
fi

echo "== the line of the README"
"$python" -m ssbsn_cli denoise "$root/docs/sample.jpg" -o "$place/clean.png" --device "$device" --json
test -s "$place/clean.png"

if [ "$device" != cpu ]; then
  echo "== the tests marked gpu"
  (cd "$root" && "$python" -m pytest -n 0 -m gpu -q tests/test_gpu.py)
fi

"$python" "$root/tests/bench_device.py" --device "$device" ${options[@]+"${options[@]}"}
echo "== all as it should be"
