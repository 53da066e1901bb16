"""Door to `tfpdu run`: Algorithm 2."""

from tfpdu.cli.run_pdu import main

main()
