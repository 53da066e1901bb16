"""Door to `tfpdu unlearn`: makes any Keras classifier forget rows."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.unlearn import main

main()
