#!/bin/sh
# Installs the bundle in this folder and runs the GPU benchmarks.
#
#   sh run.sh [RESULTS]
#
# Variables: SECONDS_EACH (30) per measurement; ROUNDS (3); SEEDS ("0 1 2");
# ENVS ("256 512 1024 2048"), the numbers of environments; MINUTES (5) per seed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
results=${1:-"$here/results"}
python=${PYTHON:-python3}
seconds=${SECONDS_EACH:-30}
rounds=${ROUNDS:-3}
envs=${ENVS:-"256 512 1024 2048"}
seeds=${SEEDS:-"0 1 2"}
minutes=${MINUTES:-5}

wanted=$(cat "$here/python")
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$wanted" != "$found" ]; then
  echo "run.sh: this bundle is for Python $wanted, but $python is $found; set PYTHON" >&2
  exit 2
fi
# JAX and its GPU plugin come from the machine.
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$python" -m tarfile --filter data -e "$here/site.tar.xz" "$site"
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
export JAXFACTORY_COMMIT="$(cat "$here/commit")"
mkdir -p "$results"
results=$(cd "$results" && pwd)
"$python" -c 'import jax; print("JAX", jax.__version__, "on", jax.devices())'

cd "$here/benchmarks"
"$python" fps.py --only jaxfactory --ceiling --seconds 4 --rounds 3 --out "$results"
for n in $envs; do
  "$python" train.py --presets reference --modes sync async --rounds "$rounds" \
    --seconds "$seconds" --out "$results" --name "train_$n" --num-envs "$n" --num-workers auto
done
"$python" time_to_score.py --minutes "$minutes" --seeds $seeds --out "$results" \
  --num-envs auto --num-workers auto --mode async ||
  echo "run.sh: not every seed had the score in time"
echo "results: $results"
