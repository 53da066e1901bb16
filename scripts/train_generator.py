"""Door to `tfpdu train`: a generator alone, without a run."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.train_generator import main

main()
