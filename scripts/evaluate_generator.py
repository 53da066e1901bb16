"""Door to `tfpdu evaluate`: what a generator is worth and what it remembers."""

from tfpdu.cli.evaluate_generator import main

main()
