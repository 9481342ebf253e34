#!/bin/sh
# Creates a folder with all that a machine without internet access needs to run the GPU
# benchmarks: the benchmarks, jaxfactory, and its dependencies other than JAX.
#
#   scripts/offline_bundle.sh [FOLDER]      on this machine (x86-64, internet, g++)
#   sh FOLDER/run.sh [RESULTS]              on the other one (Linux, JAX with a GPU plugin)
#
# PYTHON is the interpreter to build for; its minor version must match the other machine.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-"$here/offline"}
python=${PYTHON:-python3.12}
limit_mib=60

if ! "$python" --version >/dev/null 2>&1; then
  echo "offline_bundle.sh: $python is not there; set PYTHON to the interpreter to build for" >&2
  exit 2
fi
if [ -e "$folder" ] && [ ! -e "$folder/run.sh" ]; then
  echo "offline_bundle.sh: $folder exists and is no bundle; name another folder" >&2
  exit 2
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

rm -rf "$folder"
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/venv"
pip="$work/venv/bin/python -m pip"
$pip install -q --upgrade pip
# Our own wheel is built against the JAX that pip finds, which must be the one there, or
# at least speak the same foreign function interface.
(cd "$here" && $pip wheel -q --no-deps --wheel-dir "$work" .)

# Dependencies of the benchmarks other than JAX, without unused ones (video, windows).
$pip install -q "$work"/jaxfactory-*.whl
$pip freeze -q | grep -v -i -E \
  '^(jaxfactory|jax|jaxlib|numpy|scipy|ml.dtypes|opt.einsum|av|pygame[a-z-]*|uvloop|hf.xet|pip|setuptools)( |=|@)' \
  >"$work/needed"
$pip install -q --no-deps --only-binary=:all: --no-compile --target "$work/site" \
  -r "$work/needed" "$work"/jaxfactory-*.whl
# Repacked, because wheels are weakly compressed.
(cd "$work" && "$python" -c 'import tarfile
with tarfile.open("site.tar.xz", "w:xz", preset=6) as archive: archive.add("site", ".")')
mv "$work/site.tar.xz" "$folder/"

mkdir "$folder/benchmarks"
cp "$here"/benchmarks/*.py "$folder/benchmarks/"
for part in common stepping updating; do
  mkdir "$folder/benchmarks/$part"
  cp "$here/benchmarks/$part"/*.py "$folder/benchmarks/$part/"
done
(cd "$here" && git rev-parse --short=12 HEAD 2>/dev/null || echo unknown) >"$folder/commit"
echo "$version" >"$folder/python"
cp "$here/scripts/offline_run.sh" "$folder/run.sh"

size=$(du -sm "$folder" | cut -f1)
echo "$folder: $size MiB for Python $version"
if [ "$size" -gt "$limit_mib" ]; then
  echo "offline_bundle.sh: that is more than $limit_mib MiB" >&2
  exit 1
fi
