"""tfpdu: debias an image data set with synthetic rows, unlearn the originals, audit what is left.

The rooms, in the order in which data flows (a room imports only from those before it):
common, data, bias, diffusion, augment, ensemble, audit, unlearning, serving, loop, reporting, cli.
"""

__version__ = "0.1.0"
