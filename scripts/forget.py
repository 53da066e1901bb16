"""Door to `tfpdu forget`."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.forget import main

main()
