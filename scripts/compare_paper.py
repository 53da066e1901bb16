"""Door to `tfpdu compare`: runs beside the numbers of the paper."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.compare import main

main()
