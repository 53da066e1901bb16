"""Door to `tfpdu init`: a config that fits one's own pictures."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.init import main

main()
