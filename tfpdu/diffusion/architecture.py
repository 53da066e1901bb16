"""What fixes the shapes of a network's weights, as data: the network itself is in `tfpdu.diffusion.network`."""

import dataclasses

from tfpdu.common import UserError
from tfpdu.common.validation import one_of, positive

HEAD_WIDTH = 32  # channels of one attention head


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Everything that fixes the network's weights' shapes.

    Attributes:
      image_shape: (h, w, c); h and w are multiples of fold * 2 ** (levels - 1).
      classes: K; label -1 is 'unknown'.
      cardinalities: the number of values of each attribute; -1 is 'unknown'.
      widths: channels of each level; every level after the first halves the resolution.
      blocks: residual blocks a level, on the way down and on the way up.
      fold: fold x fold pixels become channels of one position; 1 folds nothing.
      attention: self-attention at the lowest level.
      embedding: width of the vector that carries noise level and condition.
      precision: 'float32', or 'mixed_bfloat16' (bfloat16 compute, float32 weights).
    """

    image_shape: tuple[int, int, int]
    classes: int
    cardinalities: tuple[int, ...] = ()
    widths: tuple[int, ...] = (48, 96, 128)
    blocks: int = 1
    fold: int = 2
    attention: bool = True
    embedding: int = 192
    precision: str = "mixed_bfloat16"

    def __post_init__(self) -> None:
        for field in ("image_shape", "cardinalities", "widths"):
            object.__setattr__(self, field, tuple(int(value) for value in getattr(self, field)))
        if not self.widths:
            raise UserError("widths: expected at least one level")
        positive(classes=self.classes, blocks=self.blocks, fold=self.fold, embedding=self.embedding)
        positive(**{f"widths[{i}]": width for i, width in enumerate(self.widths)})
        one_of(["float32", "mixed_bfloat16"], precision=self.precision)
        multiple = self.fold * 2 ** (len(self.widths) - 1)
        if self.image_shape[0] % multiple or self.image_shape[1] % multiple:
            raise UserError(
                f"generator: images of {self.image_shape[0]}x{self.image_shape[1]} pixels do not fit fold={self.fold} "
                f"with {len(self.widths)} levels; height and width must be multiples of {multiple}"
            )
        if self.attention and self.widths[-1] % HEAD_WIDTH:
            raise UserError(
                f"widths: the lowest level has attention; expected a multiple of {HEAD_WIDTH}, got {self.widths[-1]}"
            )
