"""Door to `tfpdu requests`."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.requests import main

main()
