"""Door to `tfpdu bias`: the bias of a data set against a prior."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.bias_report import main

main()
