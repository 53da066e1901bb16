"""Door to `tfpdu serving`: versions of a run's ensemble for TensorFlow Serving."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.serving import main

main()
