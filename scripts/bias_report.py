"""Door to `tfpdu bias`: the bias of a data set against a prior."""

from tfpdu.cli.bias_report import main

main()
