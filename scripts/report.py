"""Door to `tfpdu report`: the report of a run, written anew."""

from tfpdu.cli.report import main

main()
