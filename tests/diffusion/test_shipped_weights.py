"""The generators that come with tfpdu: whole, small, and made of no private row."""

import json

import numpy as np
import pytest
from tfpdu_configs import cifar10, digits

from tfpdu.common.seeds import rng
from tfpdu.diffusion import load_pretrained
from tfpdu.diffusion.critics import SIGMA
from tfpdu.diffusion.pretrained import SHIPPED
from tfpdu.material import gather
from tfpdu.settings import Settings

PRESETS = {"cifar10": cifar10.get_config("public"), "digits": digits.get_config("public")}
CRITICS = {"cifar10": ["label"], "digits": []}


def test_each_is_made_by_a_preset():
    assert sorted(path.name for path in SHIPPED.iterdir()) == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_it_is_small_and_its_card_says_what_it_is_worth(name):
    critics = [f"critics/{critic}/{file}" for critic in CRITICS[name] for file in ("classifier.json", "ema.weights.h5")]
    files = [path for path in (SHIPPED / name).rglob("*") if path.is_file()]
    found = sorted(str(path.relative_to(SHIPPED / name)) for path in files)
    assert found == [*critics, "ema.weights.h5", "generator.json"]
    assert all(path.stat().st_size < 16 * 2**20 for path in files)
    card = json.loads((SHIPPED / name / "generator.json").read_text())
    assert {"images_seen", "machine", "seconds", "seed", "rows_hash"} <= set(card)
    assert all({"cas_ratio", "kid", "copy_ratio", "guidance"} <= set(one) for one in card["metrics"].values())
    assert "scratch" in card["metrics"]


@pytest.fixture(scope="module", params=PRESETS)
def shipped(request):
    if request.param == "cifar10":
        request.getfixturevalue("tfds_directory")
    settings = Settings.from_config(PRESETS[request.param].to_dict())
    return load_pretrained(request.param, settings.generator), gather(settings)


def test_it_knows_the_public_rows_alone_and_clears_noise_from_rows_it_has_not_seen(shipped):
    """Noise of 0.3 on pictures in [-1, 1]: what is left of it is less than half."""
    generator, material = shipped
    assert set(generator.row_ids) == set(material.pools.public.ids.tolist())
    rows = material.pools.non_members_evaluation.take(np.arange(64))
    clean = rows.images / 127.5 - 1
    noisy = clean + 0.3 * rng("shipped").standard_normal(clean.shape)
    assert np.mean((generator.denoise(noisy, 0.3, rows) - clean) ** 2) < 0.09 / 2


def test_critics_learned_the_same_rows_and_know_the_classes_of_others(shipped):
    generator, material = shipped
    rows = material.pools.non_members_evaluation.take(np.arange(min(400, len(material.pools.non_members_evaluation))))
    for critic in generator.critics:
        assert critic.spec.name == "label"
        assert set(critic.card["row_ids"]) == set(generator.row_ids)
        found = critic.log_probabilities(rows.images / 127.5 - 1, SIGMA).argmax(axis=1)
        assert np.mean(found == rows.labels) > 0.7


def test_digits_look_like_their_class():
    settings = Settings.from_config(PRESETS["digits"].to_dict())
    generator, material = load_pretrained("digits", settings.generator), gather(settings)
    labels = np.repeat(np.arange(10, dtype=np.int32), 4)
    unknown = np.full((40, 2), -1, np.int8)
    images = generator.for_specs(material.drawn.specs)(labels, unknown, [f"sample/{i}" for i in range(40)])
    private = material.pools.private
    means = np.stack([private.images[private.labels == c].mean(0) for c in range(10)])  # [10, 8, 8, 1]
    nearest = ((images[:, None] - means) ** 2).sum((2, 3, 4)).argmin(1)
    assert (nearest == labels).mean() > 0.8
