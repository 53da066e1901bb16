"""Door to `tfpdu evaluate`: what a generator is worth and what it remembers."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.evaluate_generator import main

main()
