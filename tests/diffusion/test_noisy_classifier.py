"""The noise-aware classifier: against closed forms, its gradient, its files, its errors."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests.diffusion.conftest import TINY_CLASSIFIER, renamed_records
from tfpdu.common import UserError
from tfpdu.common.files import weights_hash
from tfpdu.common.seeds import rng
from tfpdu.data.records import AttributeSpec, Records
from tfpdu.diffusion import NoisyClassifier, NoisyClassifierSettings, fit_noisy_classifier, load_noisy_classifier
from tfpdu.diffusion.batches import Batches
from tfpdu.diffusion.network import build_classifier
from tfpdu.diffusion.noisy_classifier import ShiftedBatches

SPREAD, SHIFT = 0.25, 0.08  # of the Gaussian images below, a pixel


@pytest.fixture
def copy(classifiers, tmp_path):
    """The directory of the classifier of 'bar', free to be damaged."""
    return shutil.copytree(classifiers["bar"][1], tmp_path / "copy")


def pattern():
    return np.where(np.indices((8, 8))[1] < 4, 1.0, -1.0)[..., None] * SHIFT


def gaussian_records(n, share, seed):
    """Pixels N(-pattern, SPREAD^2) with value 0, N(+pattern, SPREAD^2) with value 1; a `share` has value 1."""
    draw = rng("gaussian images", seed)
    codes = (np.arange(n) < share * n).astype(np.int8)
    pixels = (2 * codes[:, None, None, None] - 1) * pattern() + SPREAD * draw.standard_normal((n, 8, 8, 1))
    images = np.rint(np.clip((pixels + 1) * 127.5, 0, 255)).astype(np.uint8)
    ids = np.array([f"g{seed}-{i}" for i in range(n)])
    specs = (AttributeSpec("sign", ("minus", "plus")),)
    return Records(images, np.zeros(n, np.int32), codes[:, None], ids, np.zeros(n, np.int8), specs, ("all",))


@pytest.fixture(scope="module")
def of_gaussians(tmp_path_factory):
    """Trained on a table in which one value is nine times as common as the other."""
    settings = dataclasses.replace(TINY_CLASSIFIER, images=60_000, batch=128, flip=False)
    directory = tmp_path_factory.mktemp("gaussians")
    return fit_noisy_classifier(gaussian_records(4000, 0.1, 0), "sign", settings, directory, seed=0)


def test_training_images_are_moved_by_no_more_than_the_shift():
    """Each is one of the 25 crops of its reflected picture, another one from step to step; of none, it stays."""
    records = gaussian_records(32, 0.5, 3)
    still, moved = (
        ShiftedBatches(records, dataclasses.replace(TINY_CLASSIFIER, flip=False, shift=s), 4) for s in (0, 2)
    )
    seen = set()
    for step in range(4):  # an epoch a step
        before, after = still.at(step), moved.at(step)
        np.testing.assert_array_equal(before.noise, after.noise)
        np.testing.assert_array_equal(before.labels, after.labels)
        for picture, found in zip(before.images, after.images, strict=True):
            padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)), "reflect")
            crops = [(i, j) for i in range(5) for j in range(5) if np.array_equal(padded[i : i + 8, j : j + 8], found)]
            assert crops
            seen.update(crops)
    assert len(seen) == 25
    plain = Batches(records, dataclasses.replace(TINY_CLASSIFIER, flip=False).learning, 4)
    np.testing.assert_array_equal(plain.at(2).images, still.at(2).images)


def test_without_a_shift_the_identity_is_that_of_a_classifier_that_knew_of_none():
    assert "shift" not in NoisyClassifierSettings().training()
    assert NoisyClassifierSettings(shift=1).training()["shift"] == 1
    with pytest.raises(UserError, match="shift"):
        NoisyClassifierSettings(shift=-1)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0, 2.0])
def test_log_odds_are_those_of_the_closed_form(of_gaussians, sigma):
    """ln p(plus | z) - ln p(minus | z) = 2 pattern . z / (SPREAD^2 + sigma^2), for equally common values."""
    rows = gaussian_records(1000, 0.5, 1)
    z = rows.images / 127.5 - 1 + sigma * rng("eta", sigma).standard_normal(rows.images.shape)
    exact = 2 * np.sum(pattern() * z, axis=(1, 2, 3)) / (SPREAD**2 + sigma**2)
    found = np.diff(of_gaussians.log_probabilities(z, sigma))[:, 0]
    assert np.corrcoef(exact, found)[0, 1] > 0.93
    p, q = (1 / (1 + np.exp(-odds)) for odds in (exact, found))
    assert np.abs(p - q).mean() < 0.08
    assert q.mean() == pytest.approx(0.5, abs=0.08)  # the rare value is not thought rare


@pytest.mark.parametrize("sigma", [5.0, 20.0, 80.0])
def test_the_step_stays_of_the_size_of_an_image_at_high_noise(of_gaussians, sigma):
    """Bayes' step there is pattern's own size, sigma^2 / (SPREAD^2 + sigma^2) * 0.08 for odds of one; levels above
    training's are extrapolated, where an ungated classifier's step grows like sigma: at 80 to tens of units."""
    z = sigma * rng("far").standard_normal((64, 8, 8, 1))
    step = sigma**2 * of_gaussians.gradient(z, sigma, np.ones(64, np.int32))
    assert np.sqrt(np.mean(step**2)) < 3 * SHIFT
    assert np.mean(step * pattern()) > 0.3 * SHIFT**2


def test_gradients_are_those_of_finite_differences():
    settings = dataclasses.replace(TINY_CLASSIFIER, widths=(8, 16))
    network = build_classifier(settings.architecture((8, 8, 1)), 3)
    draw = rng("weights")
    network.set_weights([draw.normal(0, 0.3, w.shape).astype(np.float32) for w in network.get_weights()])
    card = {"settings": dataclasses.asdict(settings), "attribute": ["a", ["x", "y", "z"]], "image_shape": [8, 8, 1]}
    classifier, h = NoisyClassifier(network, card), 1e-2
    codes = np.array([0, 1, 2, -1])
    for sigma in (0.1, 1.0, 10.0):
        z, way = draw.normal(0, max(1, sigma), (4, 8, 8, 1)), draw.standard_normal((4, 8, 8, 1))
        logs = [classifier.log_probabilities(z + sign * h * way, sigma) for sign in (-1, 1)]
        rise = np.where(codes >= 0, ((logs[1] - logs[0]) / (2 * h))[np.arange(4), codes], 0)
        found = np.sum(classifier.gradient(z, sigma, codes) * way, axis=(1, 2, 3))
        np.testing.assert_allclose(found, rise, rtol=0.02, atol=2e-3)
        assert np.abs(rise[:3]).max() > 0.01
        assert not classifier.gradient(z, sigma, codes)[3].any()


def test_a_verdict_does_not_depend_on_its_companions(classifiers):
    bar = classifiers["bar"][0]
    z = rng("z").standard_normal((11, 8, 8, 1))
    logs = bar.log_probabilities(z, 0.5)
    assert logs.shape == (11, 3)
    np.testing.assert_allclose(np.exp(logs).sum(1), 1, atol=1e-6)
    order = np.array([10, 3, 0, 7, 5])
    np.testing.assert_array_equal(bar.log_probabilities(z[order], 0.5), logs[order])


def test_it_recognises_what_it_learned(classifiers):
    rows = renamed_records(96, seed=2)
    for name, floor in (("light", 0.95), ("bar", 0.8)):
        table = rows.labelled_by(name)
        z = table.images / 127.5 - 1 + 0.1 * rng("z").standard_normal(table.images.shape)
        said = classifiers[name][0].log_probabilities(z, 0.1).argmax(1)
        assert np.mean(said == table.labels) > floor


def test_unknown_values_teach_nothing(classifiers):
    rows = renamed_records()
    known = rows.attributes[:, 1] != -1
    assert 0 < known.sum() < len(rows)
    assert classifiers["bar"][0].card["row_ids"] == rows.ids[known].tolist()
    assert classifiers["light"][0].card["rows"] == len(rows)


class Killed(BaseException):
    """Stands for a power cut."""


def test_killed_and_resumed_gives_the_same_weights(classifiers, tmp_path, monkeypatch):
    whole = Batches.at

    def until(self, step):
        if step == 50:
            raise Killed
        return whole(self, step)

    rows = renamed_records()
    monkeypatch.setattr(Batches, "at", until)
    with pytest.raises(Killed):
        fit_noisy_classifier(rows, "light", TINY_CLASSIFIER, tmp_path, seed=5)
    monkeypatch.setattr(Batches, "at", whole)
    assert (tmp_path / "checkpoint.npz").exists()
    with pytest.raises(UserError, match="a checkpoint of another classifier of 'bar'"):
        fit_noisy_classifier(rows, "bar", TINY_CLASSIFIER, tmp_path, seed=5)
    resumed = fit_noisy_classifier(rows, "light", TINY_CLASSIFIER, tmp_path, seed=5)
    assert weights_hash(resumed.network) == weights_hash(classifiers["light"][0].network)
    assert resumed.id == classifiers["light"][0].id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classifier.json", "ema.weights.h5"]


def test_a_finished_classifier_is_found_and_another_refused(classifiers, copy, monkeypatch):
    monkeypatch.setattr("tfpdu.diffusion.noisy_classifier.Training", None)
    rows, bar = renamed_records(), classifiers["bar"][0]
    again = fit_noisy_classifier(rows, "bar", TINY_CLASSIFIER, copy, seed=5)
    assert again.id == bar.id
    z = rng("z").standard_normal((8, 8, 8, 1))
    codes = np.arange(8) % 3
    np.testing.assert_array_equal(again.gradient(z, 1.0, codes), bar.gradient(z, 1.0, codes))
    faster = dataclasses.replace(TINY_CLASSIFIER, learning_rate=0.1)
    with pytest.raises(UserError, match=r"holds another classifier .*: learning_rate was 0\.005, now 0\.1"):
        fit_noisy_classifier(rows, "bar", faster, copy, seed=5)
    for other in ((rows, "light", 5), (rows, "bar", 6), (rows.take(np.arange(80)), "bar", 5)):
        with pytest.raises(UserError, match="holds another classifier"):
            fit_noisy_classifier(*other[:2], TINY_CLASSIFIER, copy, seed=other[2])
    slower = dataclasses.replace(TINY_CLASSIFIER, checkpoint_images=99, sample_batch=16)
    assert fit_noisy_classifier(rows, "bar", slower, copy, seed=5).id == bar.id


def test_damaged_files_are_one_line(copy, tmp_path):
    card = json.loads((copy / "classifier.json").read_text())
    (copy / "classifier.json").write_text(json.dumps({**card, "image_shape": [16, 16, 1]}))
    with pytest.raises(UserError, match="weights of another architecture") as caught:
        load_noisy_classifier(copy)
    assert "\n" not in str(caught.value)
    (copy / "classifier.json").write_text(json.dumps({k: v for k, v in card.items() if k != "attribute"}))
    with pytest.raises(UserError, match="not a noise-aware classifier's card"):
        load_noisy_classifier(copy)
    (copy / "classifier.json").write_text(json.dumps(card))
    (copy / "ema.weights.h5").write_bytes(b"torn")
    with pytest.raises(UserError, match="damaged"):
        load_noisy_classifier(copy)
    with pytest.raises(UserError, match="no such file"):
        load_noisy_classifier(tmp_path / "nowhere")


def test_rows_that_teach_nothing_are_refused(tmp_path):
    rows = renamed_records()
    with pytest.raises(UserError, match="unknown attribute 'lights', did you mean 'light'"):
        fit_noisy_classifier(rows, "lights", TINY_CLASSIFIER, tmp_path, seed=0)
    dark = rows.take(rows.attributes[:, 0] == 0)
    with pytest.raises(UserError, match=r"'light': 48 rows with 1 of its 2 values; expected rows with at least two"):
        fit_noisy_classifier(dark, "light", TINY_CLASSIFIER, tmp_path, seed=0)
    cut = dataclasses.replace(rows, images=rows.images[:, :6])
    with pytest.raises(UserError, match="images of 6x8 pixels do not fit"):
        fit_noisy_classifier(cut, "light", TINY_CLASSIFIER, tmp_path, seed=0)


@pytest.mark.parametrize(
    ("shape", "sigma", "codes", "message"),
    [
        ((2, 8, 8, 1), 1.0, [0, 3], "classifier of 'bar': value 3 for 2 images; it has 3 values"),
        ((2, 8, 8, 1), 1.0, [-2, 0], "value -2"),
        ((2, 8, 8, 1), 1.0, [0], "values of shape"),
        ((2, 4, 4, 1), 1.0, [0, 0], r"it knows images of \[8, 8, 1\], got \[4, 4, 1\]"),
        ((2, 8, 8, 1), 0.0, [0, 0], "sigma"),
    ],
)
def test_impossible_questions_are_named(classifiers, shape, sigma, codes, message):
    with pytest.raises(UserError, match=message):
        classifiers["bar"][0].gradient(np.zeros(shape), sigma, np.array(codes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"images": 0}, "images"), ({"widths": ()}, "at least one level"), ({"p_std": float("nan")}, "p_std")],
)
def test_settings_out_of_range_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        NoisyClassifierSettings(**changes).architecture((8, 8, 1))
