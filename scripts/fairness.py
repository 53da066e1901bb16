"""Door to `tfpdu fairness`: group fairness of any model's predictions."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.fairness import main

main()
