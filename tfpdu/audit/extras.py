"""Where the extra answers come from that some attacks need."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tfpdu.audit.losses import checked
from tfpdu.audit.signals import EXTRAS, Predict, References, Signals, ask
from tfpdu.common.errors import UserError
from tfpdu.data.records import Records


@dataclasses.dataclass(frozen=True)
class Extras:
    """How an audit gets extra answers about any rows; each is asked for only if an attack needs it.

    Attributes:
      references: rows -> `References` in their order, such as a call of `shard_references` or `collect_references`.
      adversarial: rows -> uint8 images in their order, perturbed against the audited model (`perturbed_images`); the
        audited model is then asked about them.
      earlier: the earlier version of the model.
    """

    references: Callable[[Records], References] | None = None
    adversarial: Callable[[Records], np.ndarray] | None = None
    earlier: Predict | None = None

    def check(self, needed: Iterable[str], attack: str) -> None:
        """Raises `UserError` unless everything that the attack needs is given."""
        for name in needed:
            if name not in EXTRAS:
                raise UserError(f"{attack}: requires {name!r}, which is none of {', '.join(EXTRAS)}")
            if getattr(self, name) is None:
                raise UserError(f"{attack}: this attack needs {name}; give audit_members extras=Extras({name}=...)")

    def join(
        self, signals: Signals, records: Records, predict: Predict, names: Iterable[str], block_rows: int = 512
    ) -> Signals:
        """The signals of these very records, with the named extra answers."""
        added: dict[str, Any] = {}
        blocks = [
            np.arange(start, min(start + block_rows, len(records))) for start in range(0, len(records), block_rows)
        ]
        for name in names:
            if name == "references" and self.references is not None:
                added[name] = self.references(records)
            elif name == "adversarial" and self.adversarial is not None:
                answers = [ask(predict, self.adversarial(records.take(rows)), records.classes) for rows in blocks]
                added[name] = np.concatenate(answers)
            elif name == "earlier" and self.earlier is not None:
                added[name] = ask(self.earlier, records.images, records.classes, block_rows)
            if name != "references":
                checked(added[name], records.labels)
        return dataclasses.replace(signals, **added)
