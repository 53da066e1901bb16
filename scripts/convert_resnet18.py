"""Door to `tfpdu convert`: ImageNet weights of a ResNet-18, to start training from."""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.convert import main

main()
