"""Door to `tfpdu train`: a generator alone, without a run."""

from tfpdu.cli.train_generator import main

main()
