"""Door to `tfpdu report`: the report of a run, written anew."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.report import main

main()
