"""What is exported: an ensemble with its names, its examples, where it comes from, and what its audit found."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.common import UserError, seeds
from tfpdu.ensemble import Ensemble
from tfpdu.serving.pictures import PictureReader

EXAMPLES = 16
TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 0.05}  # of a probability, between two ways to compute the same


@dataclasses.dataclass(frozen=True)
class Release:
    """Everything that a version is made of.

    Attributes:
      ensemble: k members.
      class_names: C.
      reader: of encoded pictures; knows their shape.
      examples: uint8[m, h, w, c], m >= 1, for golden answers and warm-up; never originals.
      examples_are: "synthetic rows" or "noise".
      lineage: JSON-ready; at least `salt`, the fingerprint of the ledger's secret, and `rows`, the digests of the ids
        of all original rows that the members learned.
      precision: of the networks, "float32" or "mixed_bfloat16".
      audit: rows as `tfpdu.audit.audit_members` gives, of this very ensemble.
      member_votes: also answer with each member's choice.
    """

    ensemble: Ensemble
    class_names: tuple[str, ...]
    reader: PictureReader
    examples: np.ndarray
    examples_are: str
    lineage: Mapping[str, Any]
    precision: str = "float32"
    audit: Sequence[Mapping[str, Any]] = ()
    member_votes: bool = False

    def __post_init__(self) -> None:
        if not len(self.examples) or self.examples.shape[1:] != self.reader.shape or self.examples.dtype != np.uint8:
            raise UserError(f"serving: expected example pictures uint8 [m, {self.reader.shape}]")
        missing = {"salt", "rows", "members"} - set(self.lineage)
        if missing:
            raise UserError(f"serving: the lineage lacks {', '.join(sorted(missing))}")

    @property
    def identity(self) -> str:
        """Equal for what answers equally: 32 hex digits over weights, aggregation, names, reader and precision."""
        parts = [
            [member["weights"] for member in self.lineage["members"]],
            self.ensemble.settings.aggregate,
            self.ensemble.sizes.tolist(),
            self.class_names,
            dataclasses.asdict(self.reader),
            self.precision,
            self.member_votes,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def noise(shape: tuple[int, int, int], seed: int, count: int = EXAMPLES) -> np.ndarray:
    """Pictures of nothing and nobody, uint8[count, h, w, c], where a run has no synthetic rows."""
    return seeds.rng("serving", "noise", seed).integers(0, 256, (count, *shape), np.uint8)
