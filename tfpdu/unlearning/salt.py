"""The secret of a run directory, and the keyed hashes that stand for rows, people and pictures.

Ids are guessable, so a plain hash of one is no pseudonym: whoever has a list of ids hashes them all. Here the hash is
HMAC-SHA-256 (RFC 2104) with 32 random bytes that lie in a file only its owner may read. Without that file nothing
can be linked to an id any more, nor can the run recognise what it has deleted; with it both can.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfpdu.common import UserError, files

BYTES = 32


class Salt:
    """Makes digests, 32 hex digits (128 bits) each; equal texts have equal ones, under this secret alone.

    Args:
      secret: 32 bytes.
    """

    def __init__(self, secret: bytes):
        if len(secret) != BYTES:
            raise UserError(f"salt: expected {BYTES} bytes, got {len(secret)}")
        self._secret = secret

    @classmethod
    def load(cls, path: Path) -> "Salt":
        """Reads the secret; raises `UserError` where the file is missing, unreadable or of another length."""
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise UserError(f"{path}: the secret of the ledger cannot be read ({error.strerror})") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    @classmethod
    def make(cls, path: Path, secret: bytes | None = None) -> "Salt":
        """Writes a secret, random by default, to a file of mode 0600."""
        salt = cls(secrets.token_bytes(BYTES) if secret is None else secret)
        files.write_private(path, salt._secret)
        return salt

    @property
    def fingerprint(self) -> str:
        """Tells this secret from another and gives nothing of it away: 16 hex digits."""
        return hashlib.sha256(b"tfpdu salt\x1f" + self._secret).hexdigest()[:16]

    def digest(self, kind: str, text: str) -> str:
        """The digest of one text; `kind` ("id", "subject", …) keeps equal texts of different meaning apart."""
        return self._of(kind, text.encode("utf-8", "surrogatepass"))

    def digests(self, kind: str, texts: Iterable[str]) -> dict[str, str]:
        """{text: digest}."""
        return {text: self.digest(kind, text) for text in map(str, texts)}

    def pictures(self, images: np.ndarray) -> list[str]:
        """One digest a picture, over its shape and pixels: uint8[n, h, w, c] -> n of them."""
        shape = str(images.shape[1:]).encode() + b"\x1f"
        return [self._of("picture", shape + image.tobytes()) for image in images]

    def _of(self, kind: str, data: bytes) -> str:
        return hmac.digest(self._secret, kind.encode() + b"\x1f" + data, "sha256").hex()[:32]
