"""Door to `tfpdu audit`: membership inference against a run, a Keras model, or bare answers."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.audit import main

main()
