"""Door to `tfpdu debiasing`: does debiasing by diffusion help, and does deletion hurt groups?"""

import sys

sys.path.pop(0)  # this folder: its requests.py would hide the package of that name

from tfpdu.cli.debiasing import main

main()
