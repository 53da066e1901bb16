"""Door to `tfpdu benchmark`: unlearning methods x scenarios x seeds, measured alike."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.benchmark_unlearning import main

main()
