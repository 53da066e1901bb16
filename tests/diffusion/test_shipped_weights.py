"""The generators that come with tfpdu: whole, small, and made of no private row."""

import json

import numpy as np
import pytest
from tfpdu_configs import digits

from tfpdu.diffusion import load_pretrained
from tfpdu.diffusion.pretrained import SHIPPED
from tfpdu.material import gather
from tfpdu.settings import Settings

PRESETS = {"digits": digits.get_config("public")}


def test_each_is_made_by_a_preset():
    assert sorted(path.name for path in SHIPPED.iterdir()) == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_it_is_small_and_its_card_says_what_it_is_worth(name):
    assert sorted(path.name for path in (SHIPPED / name).iterdir()) == ["ema.weights.h5", "generator.json"]
    assert all(path.stat().st_size < 16 * 2**20 for path in (SHIPPED / name).iterdir())
    card = json.loads((SHIPPED / name / "generator.json").read_text())
    assert {"images_seen", "machine", "seconds", "seed", "rows_hash"} <= set(card)
    assert all({"cas_ratio", "kid", "copy_ratio", "guidance"} <= set(one) for one in card["metrics"].values())
    assert "scratch" in card["metrics"]


def test_digits_know_the_public_rows_alone_and_look_like_their_class():
    settings = Settings.from_config(PRESETS["digits"].to_dict())
    generator, material = load_pretrained("digits", settings.generator), gather(settings)
    assert set(generator.row_ids) == set(material.pools.public.ids.tolist())
    labels = np.repeat(np.arange(10, dtype=np.int32), 4)
    unknown = np.full((40, 2), -1, np.int8)
    images = generator.for_specs(material.drawn.specs)(labels, unknown, [f"sample/{i}" for i in range(40)])
    private = material.pools.private
    means = np.stack([private.images[private.labels == c].mean(0) for c in range(10)])  # [10, 8, 8, 1]
    nearest = ((images[:, None] - means) ** 2).sum((2, 3, 4)).argmin(1)
    assert (nearest == labels).mean() > 0.8
