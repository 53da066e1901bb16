"""Door to `tfpdu run`: Algorithm 2."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.run_pdu import main

main()
