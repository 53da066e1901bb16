#!/bin/sh
# Is the installation whole? Used by the image's HEALTHCHECK and, with "all", when it is built.
set -eu
tfpdu --help > /dev/null
python -c "import importlib.metadata as m; print('tfpdu', m.version('tfpdu'), 'tensorflow', m.version('tensorflow'))"
if [ "${1:-}" = all ]; then
  tfpdu run --config=digits --dry_run
fi
