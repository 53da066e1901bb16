"""Door to `tfpdu results`: the experiments, run and put side by side."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.results import main

main()
