#!/bin/sh
# Installs a wheel of tfpdu with pinned versions into the Python that is first on the PATH.
# $1: the wheel; $2: its extras, such as gpu,serving.
set -eu
here="$(cd "$(dirname "$0")/.." && pwd)"
python -m pip install --quiet --disable-pip-version-check --no-input -c "$here/constraints.txt" "tfpdu[$2] @ file://$(realpath "$1")"
