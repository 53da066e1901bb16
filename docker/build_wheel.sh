#!/bin/sh
# Builds the wheel of this checkout. $1: the folder it goes to.
set -eu
cd "$(dirname "$0")/.."
python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$1" .
ls "$1"/tfpdu-*.whl
