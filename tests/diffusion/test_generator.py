"""A finished generator: its card, its samples, its errors."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests.diffusion.conftest import SPECS, TINY, toy_records
from tfpdu.common import UserError
from tfpdu.common.files import file_hash, weights_hash
from tfpdu.common.seeds import rng
from tfpdu.data.records import AttributeSpec
from tfpdu.diffusion import Generator, GeneratorSettings, build_network, denoise, fit_generator, load_generator
from tfpdu.diffusion.generator import with_sampling

KEYS = [f"key{i}" for i in range(11)]
LABELS = np.arange(11, dtype=np.int32) % 2
ATTRIBUTES = np.stack([np.arange(11) % 2, np.arange(11) % 3], -1).astype(np.int8)


@pytest.fixture
def copy(trained, tmp_path):
    """The trained generator's directory, free to be damaged."""
    return shutil.copytree(trained[1], tmp_path / "copy")


def test_the_card_says_what_it_is(records, trained):
    card = json.loads((trained[1] / "generator.json").read_text())
    assert card["images_seen"] == 320
    assert card["rows"] == len(records) == len(card["row_ids"])
    assert card["seed"] == 7
    assert card["lineage"] == "keep"
    assert card["parameters"] == trained[0].network.count_params()
    assert card["id"] == trained[0].id
    assert 0 < card["loss"] < 2
    assert GeneratorSettings(**card["settings"]) == TINY


def test_id_names_rows_settings_and_seed(records, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("tfpdu.diffusion.generator.Training.run", lambda self: None)
    ids = {trained[0].id}
    changed = dataclasses.replace(TINY, learning_rate=1e-3)
    resampled = dataclasses.replace(TINY, guidance=1.5)
    runs = [(records.take(np.arange(90)), TINY, 7), (records, changed, 7), (records, TINY, 8), (records, resampled, 7)]
    for i, (rows, settings, seed) in enumerate(runs):
        ids.add(fit_generator(rows, settings, tmp_path / str(i), seed).id)
    assert len(ids) == 5
    assert fit_generator(records, TINY, tmp_path / "same", 7).id == trained[0].id


def test_a_finished_generator_is_not_trained_again(records, trained, copy, monkeypatch):
    monkeypatch.setattr("tfpdu.diffusion.generator.Training", None)
    again = fit_generator(records, TINY, copy, seed=7)
    assert weights_hash(again.network) == weights_hash(trained[0].network)
    assert again.id == trained[0].id


def test_another_sampler_needs_no_training_but_has_another_id(records, trained, copy, monkeypatch):
    monkeypatch.setattr("tfpdu.diffusion.generator.Training", None)
    other = fit_generator(records, dataclasses.replace(TINY, steps=6), copy, seed=7)
    assert other.id != trained[0].id
    assert load_generator(copy).id == other.id
    assert load_generator(copy).settings.steps == 6


def test_a_directory_with_another_generator_is_refused(records, copy):
    with pytest.raises(UserError, match=r"holds another generator .*: learning_rate was 0\.005, now 0\.001"):
        fit_generator(records, dataclasses.replace(TINY, learning_rate=1e-3), copy, seed=7)
    with pytest.raises(UserError, match="holds another generator"):
        fit_generator(records, TINY, copy, seed=8)


def test_samples_survive_saving(trained):
    loaded = load_generator(trained[1])
    np.testing.assert_array_equal(loaded.sample(LABELS, ATTRIBUTES, KEYS), trained[0].sample(LABELS, ATTRIBUTES, KEYS))


@pytest.mark.parametrize("guidance", [None, 1.7])
def test_a_sample_does_not_depend_on_its_companions(trained, guidance):
    generator = trained[0]
    images = generator.sample(LABELS, ATTRIBUTES, KEYS, guidance)
    assert images.shape == (11, 8, 8, 1)
    assert images.dtype == np.uint8
    order = np.array([10, 3, 0, 7, 5])
    some = generator.sample(LABELS[order], ATTRIBUTES[order], [KEYS[i] for i in order], guidance)
    np.testing.assert_array_equal(some, images[order])
    np.testing.assert_array_equal(generator.sample(LABELS[4:5], ATTRIBUTES[4:5], KEYS[4:5], guidance), images[4:5])


def test_bfloat16_samples_do_not_depend_on_their_companions_either(trained):
    settings = dataclasses.replace(TINY, precision="mixed_bfloat16", widths=(24, 32), sample_batch=16)
    network = build_network(settings.architecture((8, 8, 1), 2, (2, 3)))
    draw = rng("stir")
    network.set_weights([draw.normal(0, 0.1, w.shape).astype(np.float32) for w in network.get_weights()])
    generator = Generator(network, {**trained[0].card, "settings": dataclasses.asdict(settings)})
    keys, labels = [f"key{i}" for i in range(20)], np.arange(20) % 2
    attributes = np.zeros((20, 2), np.int8)
    images = generator.sample(labels, attributes, keys)
    order = draw.permutation(20)[:7]
    some = generator.sample(labels[order], attributes[order], [keys[i] for i in order])
    np.testing.assert_array_equal(some, images[order])


def test_a_restored_image_does_not_depend_on_its_companions(trained, records):
    generator = trained[0]
    z = records.images / 127.5 - 1 + 0.4 * rng("z").standard_normal(records.images.shape)
    clean = generator.denoise(z, 0.4, records)
    assert clean.dtype == np.float64
    order = rng("order").permutation(len(records))[:11]
    np.testing.assert_array_equal(generator.denoise(z[order], 0.4, records.take(order)), clean[order])
    conditions = records.labels, generator._as_trained(records.labels, records.attributes.astype(np.int32))
    inputs = [a.astype(t) for a, t in ((z, np.float32), (np.full(96, 0.4), np.float32))]
    whole = denoise(generator.network, *inputs, *conditions, TINY.sigma_data, training=False)
    np.testing.assert_allclose(clean, whole, atol=1e-5)


def test_samples_depend_on_key_seed_and_guidance(trained):
    generator = trained[0]
    same = generator.sample(LABELS[[0, 0]], ATTRIBUTES[[0, 0]], ["a", "b"])
    assert not np.array_equal(same[0], same[1])
    other = Generator(generator.network, {**generator.card, "seed": 8})
    assert not np.array_equal(other.sample(LABELS, ATTRIBUTES, KEYS), generator.sample(LABELS, ATTRIBUTES, KEYS))
    free = generator.sample(LABELS, ATTRIBUTES, KEYS, guidance=0)
    np.testing.assert_array_equal(generator.sample(1 - LABELS, ATTRIBUTES * 0, KEYS, guidance=0), free)
    unknown = generator.sample(np.full(11, -1), np.full((11, 2), -1), KEYS)
    np.testing.assert_array_equal(unknown, free)


def test_columns_are_matched_by_name(trained):
    generator = trained[0]
    swapped = generator.for_specs(SPECS[::-1])(LABELS, ATTRIBUTES[:, ::-1], KEYS)
    np.testing.assert_array_equal(swapped, generator.sample(LABELS, ATTRIBUTES, KEYS))
    only = generator.for_specs(SPECS[:1])(LABELS, ATTRIBUTES[:, :1], KEYS)
    open_side = np.column_stack([ATTRIBUTES[:, 0], np.full(11, -1)])
    np.testing.assert_array_equal(only, generator.sample(LABELS, open_side, KEYS))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (AttributeSpec("tones", ("dark", "bright")), "not trained on attribute 'tones', did you mean 'tone'"),
        (AttributeSpec("tone", ("dark", "light")), "attribute 'tone' has other values"),
    ],
)
def test_an_unknown_attribute_is_named(trained, spec, message):
    with pytest.raises(UserError, match=message):
        trained[0].for_specs([spec])


@pytest.mark.parametrize(
    ("labels", "attributes", "keys", "message"),
    [
        ([], np.zeros((0, 2)), [], "asked for zero images"),
        ([2], [[0, 0]], ["a"], "label 2 is unknown to it; it has 2 values"),
        ([0], [[0, 3]], ["a"], "side 3 is unknown to it; it has 3 values"),
        ([0], [[-2, 0]], ["a"], "tone -2 is unknown"),
        ([0], [[0]], ["a"], r"attributes of shape \[1, 1\]; it knows 2 attributes"),
        ([0, 1], [[0, 0]], ["a"], "1 keys, but labels of shape"),
    ],
)
def test_impossible_requests_are_named(trained, labels, attributes, keys, message):
    with pytest.raises(UserError, match=message):
        trained[0].sample(np.array(labels), np.array(attributes), keys)


def test_negative_guidance_is_refused(trained):
    with pytest.raises(UserError, match="guidance"):
        trained[0].sample(LABELS, ATTRIBUTES, KEYS, guidance=-1)


def test_too_few_rows_are_refused(records, tmp_path):
    with pytest.raises(UserError, match="0 training rows, at least 10 are needed"):
        fit_generator(records.take(np.zeros(0, np.int64)), TINY, tmp_path, seed=0)
    with pytest.raises(UserError, match="0 training rows, at least 1 "):
        fit_generator(records.take(np.zeros(0, np.int64)), dataclasses.replace(TINY, min_rows=1), tmp_path, seed=0)


def test_images_that_do_not_fit_are_refused(tmp_path):
    records = toy_records(32)
    cut = dataclasses.replace(records, images=records.images[:, :6])
    with pytest.raises(UserError, match="images of 6x8 pixels do not fit fold=2 with 2 levels"):
        fit_generator(cut, TINY, tmp_path, seed=0)


def test_damaged_weights_are_one_line(copy):
    path = copy / "ema.weights.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"ema\.weights\.h5: damaged, or not the weights") as caught:
        load_generator(copy)
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        load_generator(copy)


def test_weights_of_another_architecture_are_refused(copy):
    card = json.loads((copy / "generator.json").read_text())
    card["settings"]["widths"] = [16, 32]
    (copy / "generator.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="weights of another architecture") as caught:
        load_generator(copy)
    assert "\n" not in str(caught.value)
    (copy / "ema.weights.h5").write_bytes(b"not a weights file")
    card["weights_sha256"] = file_hash(copy / "ema.weights.h5")
    (copy / "generator.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="weights of another architecture"):
        load_generator(copy)


def test_a_card_with_missing_entries_is_refused(copy, tmp_path):
    card = json.loads((copy / "generator.json").read_text())
    del card["label_names"]
    (copy / "generator.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="not a generator's card"):
        load_generator(copy)
    with pytest.raises(UserError, match="no such file"):
        load_generator(tmp_path / "nowhere")


@pytest.mark.slow
def test_equal_seeds_give_equal_generators(records, trained, tmp_path):
    again = fit_generator(records, TINY, tmp_path / "again", seed=7)
    assert weights_hash(again.network) == weights_hash(trained[0].network)
    other = fit_generator(records, dataclasses.replace(TINY, images=32), tmp_path / "other", seed=8)
    assert weights_hash(other.network) != weights_hash(trained[0].network)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 0}, "images"),
        ({"weighting": "emd"}, "did you mean 'edm'"),
        ({"sampler": "ddim"}, "sampler: unknown"),
        ({"lineage": "private"}, "lineage"),
        ({"sigma_min": 0.0}, "sigma_min"),
        ({"sigma_max": 0.001}, "sigma_min < sigma_max"),
        ({"drop_each": 1.5}, "drop_each"),
        ({"guidance": 1.5, "drop_all": 0.0}, "drop_all above 0"),
        ({"guidance_low": 2.0, "guidance_high": 2.0}, "guidance_high: expected above guidance_low=2, got 2"),
        ({"guidance_low": -1.0}, "guidance_low"),
        ({"p_std": float("nan")}, "p_std"),
        ({"floor": 2.0}, "floor"),
    ],
)
def test_settings_out_of_range_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        GeneratorSettings(**changes)


def test_an_interval_that_holds_every_noise_level_changes_nothing_and_one_that_holds_none_is_no_guidance(trained):
    generator = trained[0]

    def sample(**changes):
        other = with_sampling(generator, dataclasses.replace(TINY, guidance=3.0, **changes))
        return other.id, other.sample(LABELS, ATTRIBUTES, KEYS)

    identity, everywhere = sample()
    np.testing.assert_array_equal(sample(guidance_low=0.001, guidance_high=90.0)[1], everywhere)
    np.testing.assert_array_equal(sample(guidance_low=90.0)[1], generator.sample(LABELS, ATTRIBUTES, KEYS, guidance=1))
    between, partly = sample(guidance_low=0.1, guidance_high=3.0)
    assert not np.array_equal(partly, everywhere)
    assert between != identity == with_sampling(generator, dataclasses.replace(TINY, guidance=3.0)).id


def test_settings_of_sampling_replace_those_of_the_card_where_they_are_defaults_too(trained):
    plain = trained[0].sample(LABELS, ATTRIBUTES, KEYS)
    stochastic = with_sampling(trained[0], dataclasses.replace(TINY, churn=5.0, guidance=2.0, guidance_low=0.5))
    again = with_sampling(stochastic, TINY)
    assert again.id == trained[0].id
    np.testing.assert_array_equal(again.sample(LABELS, ATTRIBUTES, KEYS), plain)


def test_churned_samples_too_depend_on_their_own_key_alone(trained):
    generator = trained[0]
    stochastic = Generator(
        generator.network, {**generator.card, "settings": {**generator.card["settings"], "churn": 5.0}}
    )
    images = stochastic.sample(LABELS, ATTRIBUTES, KEYS)
    assert not np.array_equal(images, generator.sample(LABELS, ATTRIBUTES, KEYS))
    np.testing.assert_array_equal(
        stochastic.sample(LABELS[[7, 3]], ATTRIBUTES[[7, 3]], [KEYS[7], KEYS[3]]), images[[7, 3]]
    )
