"""Digests: known answers, and that nothing is told without the secret."""

import hashlib
import hmac
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.unlearning.salt import Salt

SECRET = bytes(range(32))


def test_a_digest_is_half_an_hmac_of_kind_and_text():
    expected = hmac.new(SECRET, b"id\x1frow-\xc3\xa4", hashlib.sha256).hexdigest()[:32]
    assert Salt(SECRET).digest("id", "row-ä") == expected
    assert Salt(SECRET).digests("id", ["row-ä"]) == {"row-ä": expected}


@given(st.lists(st.tuples(st.sampled_from(["id", "subject"]), st.text()), unique=True, max_size=8))
def test_different_texts_and_kinds_have_different_digests_under_every_secret(pairs):
    digests = {Salt(secret).digest(*pair) for pair in pairs for secret in (SECRET, bytes(32))}
    assert len(digests) == 2 * len(pairs)
    assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests)


def test_pictures_are_told_apart_by_pixels_and_by_shape():
    salt, images = Salt(SECRET), np.arange(2 * 2 * 8 * 3, dtype=np.uint8).reshape(2, 2, 8, 3)
    first, second = salt.pictures(images)
    assert first != second
    assert salt.pictures(images[::-1]) == [second, first]
    assert salt.pictures(images.reshape(2, 8, 2, 3)) != [first, second]  # the same bytes
    assert salt.pictures(np.asfortranarray(images)) == [first, second]
    nudged = images.copy()
    nudged[0, 1, 3, 2] ^= 1
    assert salt.pictures(nudged) != [first, second]
    assert salt.pictures(images[:0]) == []


def test_the_fingerprint_tells_secrets_apart_and_is_no_digest_of_theirs(tmp_path):
    made = Salt.make(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert Salt.load(tmp_path / "a").fingerprint == made.fingerprint != Salt.make(tmp_path / "b").fingerprint
    secret = (tmp_path / "a").read_bytes()
    assert made.fingerprint not in (secret.hex(), hashlib.sha256(secret).hexdigest()[:16])


@pytest.mark.parametrize("data", [b"", b"x" * 31, b"x" * 33, None])
def test_a_secret_that_is_missing_or_cut_is_refused(tmp_path, data):
    if data is not None:
        (tmp_path / "salt").write_bytes(data)
    with pytest.raises(UserError, match=r"salt: (the secret of the ledger cannot be read|salt: expected 32 bytes)"):
        Salt.load(tmp_path / "salt")
