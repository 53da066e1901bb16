"""Copies, neighbours, canaries and membership, with generators whose memory is known."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from tests.diffusion.conftest import TINY, toy_records
from tfpdu.common import UserError
from tfpdu.common.intervals import hanley_mcneil_se
from tfpdu.common.seeds import rng
from tfpdu.diffusion import (
    PIXELS,
    Extractor,
    Generator,
    copy_ratio,
    denoising_losses,
    fit_generator,
    generator_membership,
    is_copy,
    make_canaries,
    nearest_distances,
    neighbour_share,
    neighbours,
    reproduced,
    without_copies,
)
from tfpdu.diffusion.memorization import matched
from tfpdu.diffusion.memory import measure_memory, measure_traces
from tfpdu.diffusion.preconditioning import preconditioning

MEANS = Extractor("row means", lambda images: images.mean(axis=2).reshape(len(images), -1).astype(np.float32) / 255)


def noise_images(n, *key, size=8, channels=1):
    return rng("images", n, *key).integers(0, 256, (n, size, size, channels), np.uint8)


def fresh(n, name, seed):
    """Toy rows with ids of their own."""
    records = toy_records(n, seed, unknown=False)
    return dataclasses.replace(records, ids=np.array([f"{name}{i:04d}" for i in range(n)]))


def naive_distances(samples, rows, flips, features):
    """Every distance by a double loop, float64[m, n]."""
    out = np.empty((len(samples), len(rows)))
    for i in range(len(samples)):
        for j in range(len(rows)):
            pair = [rows[j], rows[j][:, ::-1]] if flips else [rows[j]]
            a = features(samples[i : i + 1])[0].astype(np.float64)
            out[i, j] = min(np.sqrt(np.mean((a - features(b[None])[0].astype(np.float64)) ** 2)) for b in pair)
    return out


# Nearest neighbours


def test_distances_by_hand():
    rows = np.zeros((3, 8, 8, 1), np.uint8)
    rows[1, 0, 0], rows[2] = 255, 255
    found = nearest_distances(np.zeros((1, 8, 8, 1), np.uint8), rows, flips=False, k=3)
    np.testing.assert_allclose(found.distances, [[0, 1 / 8, 1]])
    assert found.rows.tolist() == [[0, 1, 2]]


def test_an_image_and_its_mirror_are_one_neighbour():
    rows = noise_images(3, "mirror")
    found = nearest_distances(rows[:1, :, ::-1], rows, flips=True)
    assert found.distances[0, 0] == 0
    assert found.rows[0].tolist()[0] == 0
    assert found.rows[0, 1] != 0
    assert found.distances[0, 1] > 0.1
    assert nearest_distances(rows[:1, :, ::-1], rows, flips=False).distances[0, 0] > 0.1


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("extractor", [PIXELS, MEANS], ids=["pixels", "features"])
def test_neighbours_are_those_of_a_double_loop(flips, extractor, monkeypatch):
    samples, rows = noise_images(17, "a"), noise_images(45, "b")
    samples[3], samples[4] = rows[7], rows[30, :, ::-1]
    every = naive_distances(samples, rows, flips, extractor.features)
    for block in (1024, 7):
        monkeypatch.setattr(neighbours, "BLOCK", block)
        found = nearest_distances(samples, rows, flips, 4, extractor)
        np.testing.assert_allclose(found.distances, np.sort(every, axis=1)[:, :4], rtol=1e-12)
        np.testing.assert_allclose(np.take_along_axis(every, found.rows, 1), found.distances, rtol=1e-12)
        assert found.distances[3, 0] == 0


@given(st.integers(1, 30), st.integers(2, 60), st.booleans(), st.integers(0, 2**20), st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_neighbours_are_exact_where_float32_is_not(m, n, flips, seed, base):
    """Images that differ by a few grey levels from a far-off constant, with many ties."""
    draw = rng("close", seed)
    samples, rows = (np.clip(base + draw.integers(0, 2, (k, 4, 4, 1)), 0, 255).astype(np.uint8) for k in (m, n))
    found = nearest_distances(samples, rows, flips, 2)
    views = [rows, rows[:, :, ::-1]] if flips else [rows]
    gaps = [((samples[:, None].astype(int) - view[None]) ** 2).sum(axis=(2, 3, 4)) for view in views]
    squares = np.sort(np.min(gaps, axis=0), axis=1)[:, :2]
    np.testing.assert_allclose(found.distances, np.sqrt(squares / 16) / 255, rtol=1e-12)


def test_candidates_that_float32_cannot_tell_apart_are_searched_again(monkeypatch):
    """Points far out and close together: the products round away what distinguishes them."""
    again, search = [], neighbours._searched
    monkeypatch.setattr(neighbours, "_searched", lambda *arguments: again.append(1) or search(*arguments))
    points = np.concatenate([np.full((1, 4), 1e4), -np.full((1, 4), 1e4), 1e4 + rng("far").random((200, 4)) * 1e-3])
    table = neighbours.Points(points)
    found = neighbours.nearest_points(neighbours.Points(points[2:40]), [table], 2)
    exact = np.sort(np.sqrt(((points[2:40, None] - points[None]) ** 2).mean(axis=2)), axis=1)[:, :2]
    np.testing.assert_array_equal(found.distances[:, 0], 0)
    np.testing.assert_allclose(found.distances, exact, rtol=1e-12)
    assert len(again) == 38


def test_impossible_searches_are_named():
    rows = noise_images(5)
    with pytest.raises(UserError, match="6 wanted, there are 5 rows"):
        nearest_distances(rows, rows, False, 6)
    with pytest.raises(UserError, match=r"\[4, 4, 1\] cannot be compared with \[8, 8, 1\]"):
        nearest_distances(rows[:, :4, :4], rows, False)
    with pytest.raises(UserError, match=r"expected uint8\[n, h, w, c\], got float64"):
        nearest_distances(rows / 255, rows, False)


# Copy ratio


def test_training_rows_are_all_copies_and_fresh_rows_none():
    rows = noise_images(40, "train")
    copies = copy_ratio(rows[:20], rows, flips=False)
    assert copies.ratio == 1
    assert copies.mask.all()
    assert copies.nearest.tolist() == list(range(20))
    assert (copies.distances[:, 0] == 0).all()
    assert copies.extractor == "pixels"
    assert copy_ratio(noise_images(20, "fresh"), rows, flips=True).ratio == 0


def test_the_share_of_copies_comes_with_its_interval():
    rows = noise_images(40, "train")
    samples = np.concatenate([rows[:4, :, ::-1], noise_images(16, "fresh")])
    copies = copy_ratio(samples, rows, flips=True)
    assert copies.mask.tolist() == [True] * 4 + [False] * 16
    low, high = stats.binomtest(4, 20).proportion_ci(method="exact")
    assert (copies.ratio, copies.ci_low, copies.ci_high) == (0.2, pytest.approx(low), pytest.approx(high))


def test_the_rule_of_one_third():
    distances = np.array([[0.1, 0.31], [0.1, 0.29], [0, 0], [0, 1], [0.02, 0.02], [0.5, 0.6]])
    assert is_copy(distances).tolist() == [True, False, True, True, False, False]
    assert is_copy(distances, within=0.02).tolist() == [True, False, True, True, True, False]


def test_copies_in_features():
    rows = noise_images(40, "train")
    shuffled = np.concatenate([row[:, rng("columns", i).permutation(8)][None] for i, row in enumerate(rows[:10])])
    assert copy_ratio(shuffled, rows, False, MEANS).ratio == 1  # the same row means
    assert copy_ratio(shuffled, rows, False).ratio == 0


def test_a_copy_ratio_of_nothing_is_refused():
    rows = noise_images(5)
    with pytest.raises(UserError, match="no samples"):
        copy_ratio(rows[:0], rows, False)
    with pytest.raises(UserError, match="2 wanted, there are 1 rows"):
        copy_ratio(rows, rows[:1], False)


# Calibrated neighbour share


def test_training_rows_have_share_one_and_held_out_rows_share_zero():
    train, holdout = fresh(96, "train", 1), fresh(96, "holdout", 2)
    share = neighbour_share(train.images, train, holdout, flips=False)
    assert share.share == share.ci_high == 1
    assert share.p_value == pytest.approx(0.5**96)
    assert share.swap_p_value == 1e-4
    assert share.ci_low == pytest.approx(stats.binomtest(96, 96).proportion_ci(method="exact").low)
    assert (share.samples, share.ties, share.rows) == (96, 0, 96)
    none = neighbour_share(holdout.images, train, holdout, flips=False)
    assert none.share == none.ci_low == 0
    assert none.p_value == none.swap_p_value == 1


def test_fresh_rows_have_share_one_half():
    """600 samples: 0.5 within 4 standard errors of 0.0204, enlarged by half for rows near to many samples."""
    train, holdout = fresh(900, "train", 1), fresh(900, "holdout", 2)
    share = neighbour_share(toy_records(600, 3, unknown=False).images, train, holdout, flips=False)
    assert share.share == pytest.approx(0.5, abs=0.12)
    assert share.ci_low < 0.5 < share.ci_high or share.swap_p_value > 1e-3


def test_p_value_and_interval_are_those_of_scipy():
    train, holdout = fresh(96, "train", 1), fresh(96, "holdout", 2)
    samples = np.concatenate([train.images[:40], holdout.images[:30]])
    share = neighbour_share(samples, train, holdout, flips=False)
    test = stats.binomtest(40, 70, alternative="greater")
    assert share.share == 40 / 70
    assert share.p_value == pytest.approx(test.pvalue)
    interval = stats.binomtest(40, 70).proportion_ci(method="exact")
    assert (share.ci_low, share.ci_high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_ties_count_one_half():
    train = fresh(12, "train", 1)
    holdout = dataclasses.replace(train, ids=np.array([f"holdout{i}" for i in range(12)]))
    share = neighbour_share(noise_images(7), train, holdout, flips=True)
    assert (share.share, share.ties, share.samples) == (0.5, 7, 7)
    assert share.p_value > 0.5
    assert share.swap_p_value == 1
    assert share.ci_low == pytest.approx(stats.binomtest(3, 7).proportion_ci(method="exact").low)
    assert share.ci_high == pytest.approx(stats.binomtest(4, 7).proportion_ci(method="exact").high)


def test_the_swap_test_is_not_fooled_by_one_row_that_is_near_to_all():
    """All samples lie near one training row, by chance: thousands of them are one coin."""
    train, holdout = fresh(20, "train", 1), fresh(20, "holdout", 2)
    hub = np.full((500, 8, 8, 1), 128, np.uint8) + rng("hub").integers(0, 3, (500, 8, 8, 1), np.uint8)
    images = train.images.copy()
    images[5] = 131
    share = neighbour_share(hub, dataclasses.replace(train, images=images), holdout, flips=False)
    assert share.share == 1
    assert share.p_value < 1e-100
    assert share.swap_p_value == pytest.approx(0.5, abs=0.03)  # 6 standard errors of 9,999 swaps


def test_the_swap_test_keeps_its_level():
    """100 tables without memory, many samples: about 5 p-values below 0.05; 12 or more have chance 0.004."""
    below = 0
    for seed in range(100):
        train, holdout = fresh(24, "train", f"t{seed}"), fresh(24, "holdout", f"h{seed}")
        samples = toy_records(200, f"s{seed}", unknown=False).images
        below += neighbour_share(samples, train, holdout, flips=False).swap_p_value < 0.05
    assert below < 12


def test_cells_are_matched_by_the_hash_of_ids():
    train, holdout = fresh(90, "train", 1), fresh(60, "holdout", 2).take(np.arange(50))
    one, two = matched(train, holdout)
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.attributes, two.attributes)
    counts = [np.unique(np.column_stack([t.labels, t.attributes]), axis=0, return_counts=True) for t in (train, one)]
    np.testing.assert_array_equal(counts[0][0], counts[1][0])
    assert len(one) == len(set(one.ids)) == 50
    again, _ = matched(train.take(rng("order").permutation(90)), holdout)
    assert again.ids.tolist() == one.ids.tolist()
    gone = one.ids[3]
    fewer, _ = matched(train.without([gone]), holdout)
    assert set(one.ids) - {gone} <= set(fewer.ids)


def test_sides_that_cannot_be_compared_are_named():
    train, holdout = fresh(20, "train", 1), fresh(20, "holdout", 2)
    with pytest.raises(UserError, match="'train0000' is both trained on and held out"):
        neighbour_share(train.images, train, train, False)
    with pytest.raises(UserError, match=r"no cell .* in common"):
        neighbour_share(train.images, train.take(train.labels == 0), holdout.take(holdout.labels == 1), False)
    with pytest.raises(UserError, match="different classes or attributes"):
        neighbour_share(train.images, train, dataclasses.replace(holdout, label_names=("a", "b")), False)
    with pytest.raises(UserError, match="no samples"):
        neighbour_share(train.images[:0], train, holdout, False)


# The guard


def half_copying(rows, copy_again=False):
    """A generator that copies a row for every other key, or whatever is drawn again too."""

    def generate(labels, attributes, keys):
        images = []
        for key in keys:
            copies = copy_again or ("/again" not in key and rng("copies", key).random() < 0.5)
            images.append(rows[rng(key).integers(len(rows))] if copies else noise_images(1, key)[0])
        return np.stack(images)

    return generate


KEYS = [f"key{i}" for i in range(30)]
LABELS, ATTRIBUTES = np.arange(30) % 2, np.zeros((30, 2), np.int8)


def test_copies_are_drawn_again_and_counted():
    rows = noise_images(40, "train")
    plain = half_copying(rows)(LABELS, ATTRIBUTES, KEYS)
    copied = copy_ratio(plain, rows, False).mask
    guard = without_copies(half_copying(rows), rows, False)
    images = guard(LABELS, ATTRIBUTES, KEYS)
    assert 5 < copied.sum() < 25
    assert copy_ratio(images, rows, False).ratio == 0
    np.testing.assert_array_equal(images[~copied], plain[~copied])
    assert dict(guard.tally) == {"sampled": 30, "redrawn_copies": copied.sum(), "kept_copies": 0}
    again = [f"{key}/again1" for key, redrawn in zip(KEYS, copied, strict=True) if redrawn]
    np.testing.assert_array_equal(images[copied], half_copying(rows)(LABELS[copied], ATTRIBUTES[copied], again))


def test_a_guarded_image_depends_on_its_key_alone():
    rows = noise_images(40, "train")
    images = without_copies(half_copying(rows), rows, True)(LABELS, ATTRIBUTES, KEYS)
    order = rng("order").permutation(30)[:11]
    some = without_copies(half_copying(rows), rows, True)(LABELS[order], ATTRIBUTES[order], [KEYS[i] for i in order])
    np.testing.assert_array_equal(some, images[order])


def test_a_generator_that_only_copies_is_not_asked_for_ever():
    rows = noise_images(40, "train")
    guard = without_copies(half_copying(rows, copy_again=True), rows, False, max_redraws=2)
    images = guard(LABELS, ATTRIBUTES, KEYS)
    last = half_copying(rows, copy_again=True)(LABELS, ATTRIBUTES, [f"{key}/again2" for key in KEYS])
    np.testing.assert_array_equal(images, last)
    guard(LABELS[:3], ATTRIBUTES[:3], KEYS[:3])
    assert dict(guard.tally) == {"sampled": 33, "redrawn_copies": 66, "kept_copies": 33}
    off = without_copies(half_copying(rows, copy_again=True), rows, False, max_redraws=0)
    off(LABELS, ATTRIBUTES, KEYS)
    assert dict(off.tally) == {"sampled": 30, "redrawn_copies": 0, "kept_copies": 30}


def test_a_distance_catches_copies_of_repeated_rows():
    rows = np.concatenate([noise_images(20, "train")] * 2)

    def near(labels, attributes, keys):
        return np.stack([rows[3] ^ 1 if "/again" not in key else noise_images(1, key)[0] for key in keys])

    for within, redrawn in ((0.0, 0), (0.003, 0), (0.004, 30), (None, 30)):  # one grey level is a distance of 0.0039
        guard = without_copies(near, rows, False, within=within)
        guard(LABELS, ATTRIBUTES, KEYS)
        assert guard.tally["redrawn_copies"] == redrawn


def test_a_guard_fits_a_generator(trained, records):
    generator = trained[0]
    guard = without_copies(generator.sample, records.images, TINY.flip)
    images = guard(LABELS, ATTRIBUTES, KEYS)
    np.testing.assert_array_equal(images, generator.sample(LABELS, ATTRIBUTES, KEYS))  # it is too blurred to copy
    assert guard.tally["sampled"] == 30


def test_impossible_guards_are_named():
    rows = noise_images(5)
    with pytest.raises(UserError, match="1 training rows, at least 2"):
        without_copies(half_copying(rows), rows[:1], False)
    with pytest.raises(UserError, match="max_redraws"):
        without_copies(half_copying(rows), rows, False, max_redraws=-1)


# Canaries


@pytest.fixture(scope="module")
def some_canaries():
    return make_canaries(toy_records(8), 40, seed=5, kinds=("solid", "noise", "mislabelled"), source=fresh(60, "s", 9))


def test_canaries_are_what_they_say(some_canaries):
    records, source = some_canaries.records, fresh(60, "s", 9)
    kinds = np.array([row_id.split("/")[1] for row_id in records.ids])
    assert [int((kinds == kind).sum()) for kind in ("solid", "noise", "mislabelled")] == [40, 40, 40]
    spread = records.images.reshape(120, -1).std(axis=1)
    assert (spread[kinds == "solid"] == 0).all()
    assert (spread[kinds == "noise"] > 50).all()
    for row_id, image, label in zip(records.ids, records.images, records.labels, strict=True):
        if row_id.startswith("canary/mislabelled/"):
            row = source.rows_of([row_id.removeprefix("canary/mislabelled/")])[0]
            np.testing.assert_array_equal(image, source.images[row])
            assert label == 1 - source.labels[row]
    assert 0.3 < some_canaries.planted.mean() < 0.7
    assert set(records.labels) == {0, 1}
    assert (records.attributes >= 0).all()
    assert (records.attributes.max(axis=0) == [1, 2]).all()


def test_a_canary_and_its_coin_depend_on_seed_and_id_alone(some_canaries):
    fewer = make_canaries(toy_records(8), 10, seed=5, kinds=("noise",))
    rows = some_canaries.records.rows_of(fewer.records.ids.tolist())
    np.testing.assert_array_equal(fewer.records.images, some_canaries.records.images[rows])
    np.testing.assert_array_equal(fewer.records.labels, some_canaries.records.labels[rows])
    np.testing.assert_array_equal(fewer.planted, some_canaries.planted[rows])
    other = make_canaries(toy_records(8), 10, seed=6, kinds=("noise",))
    assert not np.array_equal(other.records.images, fewer.records.images)


def test_the_training_table_gets_the_planted_canaries(some_canaries):
    train = toy_records(20)
    table = some_canaries.planted_in(train)
    assert table.ids[:20].tolist() == train.ids.tolist()
    assert table.ids[20:].tolist() == some_canaries.records.ids[some_canaries.planted].tolist()


def test_a_generator_that_gives_back_its_canaries_is_caught():
    made, train = make_canaries(toy_records(8), 30, seed=1, kinds=("noise",)), toy_records(40)
    planted = made.records.images[made.planted]
    samples = np.concatenate([planted[:10], planted[3:6], train.images, noise_images(50, "fresh")])
    found = reproduced(made, samples, train.images, flips=True)
    assert found.planted == len(planted)
    assert found.unplanted == 30 - len(planted)
    assert (found.planted_reproduced, found.unplanted_reproduced) == (10, 0)
    assert found.mask.sum() == 10
    table = [[10, 0], [found.planted - 10, found.unplanted]]
    assert found.p_value == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)
    assert found.p_value < 0.01


def test_canaries_met_by_chance_are_no_evidence():
    made = make_canaries(toy_records(8), 30, seed=1, kinds=("noise",))
    found = reproduced(made, made.records.images, toy_records(8).images, flips=False)
    assert found.planted_reproduced == found.planted
    assert found.unplanted_reproduced == found.unplanted
    assert found.p_value == 1
    none = reproduced(made, noise_images(9), toy_records(8).images[:0], flips=False)
    assert (none.planted_reproduced, none.p_value) == (0, 1)


def test_impossible_canaries_are_named():
    with pytest.raises(UserError, match="kind: unknown 'sold', did you mean 'solid'"):
        make_canaries(toy_records(8), 3, 0, kinds=("sold",))
    with pytest.raises(UserError, match="3 mislabelled ones wanted, the source has 0 rows"):
        make_canaries(toy_records(8), 3, 0, kinds=("mislabelled",))
    with pytest.raises(UserError, match="count"):
        make_canaries(toy_records(8), 0, 0)
    made = make_canaries(toy_records(8), 3, 0)
    with pytest.raises(UserError, match="no samples"):
        reproduced(made, noise_images(0), noise_images(4), False)


# Membership by the denoising loss


class Untrained:
    """Gives the generator a network whose output is known."""

    def __init__(self, output):
        self.output = output

    def __call__(self, features, training):
        return features[0] * self.output


def test_losses_of_a_network_that_says_nothing(trained, records):
    """F = 0: D = c_skip z, so the loss is lambda ((c_skip - 1) x + c_skip sigma eta)^2 in closed form."""
    generator = Generator(Untrained(0.0), trained[0].card)
    sigma, few = 0.7, records.take(np.arange(11))
    losses = denoising_losses(generator, few, [sigma], seed=3)
    x = few.images / 127.5 - 1
    eta = np.stack([rng("sample", 3, f"loss/0.7/{row_id}").standard_normal((8, 8, 1)) for row_id in few.ids])
    c_skip = 0.25 / (0.25 + sigma**2)
    weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    expected = weight * np.mean((c_skip * (x + sigma * eta) - x) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(losses[:, 0], expected, rtol=1e-5)


def test_a_loss_depends_on_its_row_alone(trained, records):
    generator, sigmas = trained[0], [0.3, 1.0]
    losses = denoising_losses(generator, records, sigmas, seed=1)
    assert losses.shape == (96, 2)
    assert losses.dtype == np.float64
    assert (losses > 0).all()
    order = rng("order").permutation(96)[:13]
    np.testing.assert_array_equal(denoising_losses(generator, records.take(order), sigmas, 1), losses[order])
    np.testing.assert_array_equal(denoising_losses(generator, records, sigmas[::-1], 1), losses[:, ::-1])
    assert not np.array_equal(denoising_losses(generator, records, sigmas, 2), losses)


def test_columns_of_other_tables_are_matched_by_name(trained, records):
    few = records.take(np.arange(10))
    swapped = dataclasses.replace(few, attributes=few.attributes[:, ::-1], specs=few.specs[::-1])
    both = [denoising_losses(trained[0], table, [1.0], 0) for table in (few, swapped)]
    np.testing.assert_array_equal(*both)


def test_rows_that_do_not_fit_are_named(trained, records):
    generator = trained[0]
    with pytest.raises(UserError, match="0 rows and 1 noise levels"):
        denoising_losses(generator, records.take(np.zeros(0, np.int64)), [1.0], 0)
    with pytest.raises(UserError, match=r"sigmas\[1\]: expected a number above 0"):
        denoising_losses(generator, records, [1.0, 0.0], 0)
    with pytest.raises(UserError, match=r"it knows images of \[8, 8, 1\]"):
        denoising_losses(generator, dataclasses.replace(records, images=records.images[:, :4]), [1.0], 0)
    with pytest.raises(UserError, match="'new0000' is no training row"):
        generator_membership(generator, fresh(9, "new", 1), records)
    with pytest.raises(UserError, match="non-member 'toy0000' is a training row"):
        generator_membership(generator, records, records)


class Memoriser:
    """The optimum of the denoising loss on few rows: D is the mean of the rows, weighed by how likely they gave z."""

    def __init__(self, images, sigma_data=0.5):
        self.rows, self.sigma_data = images.reshape(len(images), -1) / 127.5 - 1, sigma_data

    def __call__(self, features, training):
        scaled, c_noise = (keras.ops.convert_to_numpy(f).astype(np.float64) for f in features[:2])
        sigma = np.exp(4 * c_noise)[:, None]  # [b, 1]
        c_skip, c_out, c_in, _ = preconditioning(sigma, self.sigma_data)
        z = scaled.reshape(len(scaled), -1) / c_in
        squares = ((z[:, None] - self.rows) ** 2).sum(axis=2)
        weights = special.softmax(-squares / (2 * sigma**2), axis=1)
        return ((weights @ self.rows - c_skip * z) / c_out).reshape(scaled.shape)


def test_a_generator_that_remembers_everything_gives_its_rows_away(trained, records, monkeypatch):
    monkeypatch.setattr("tfpdu.diffusion.generator.compiled", lambda function, *models: function)
    generator = Generator(Memoriser(noise_images(96, "in")), trained[0].card)
    records = dataclasses.replace(records, images=noise_images(96, "in"))
    other = dataclasses.replace(fresh(96, "new", 4), images=noise_images(96, "out"))
    found = generator_membership(generator, records, other, sigmas=(0.1, 0.3), seed=0)
    assert found.mean.value == 1
    assert [area.value for area in found.by_sigma] == [1, 1]
    assert 0.95 < found.mean.ci_low < found.mean.ci_high == 1
    assert np.all(found.members > -1e-3)  # restored to the pixel
    late = generator_membership(generator, records, other, sigmas=(80.0,), seed=0)
    assert late.mean.value < 0.9  # in so much noise every row looks like every other


def test_traces_of_rows_are_found_where_they_are_and_nowhere_else(trained, records, monkeypatch):
    monkeypatch.setattr("tfpdu.diffusion.generator.compiled", lambda function, *models: function)
    generator = Generator(Memoriser(noise_images(96, "in")), trained[0].card)
    learned = dataclasses.replace(records, images=noise_images(96, "in"))
    others = [dataclasses.replace(fresh(96, name, 4), images=noise_images(96, name)) for name in ("new", "out")]
    found = measure_traces(generator, learned, others[0], limit=60)
    assert found["auc"] > 0.99
    assert found["rows"] == found["strangers"] <= 60
    forgotten = measure_traces(generator, *others)  # a generator that was trained on neither
    assert forgotten["ci_low"] < 0.5 < forgotten["ci_high"]
    with pytest.raises(UserError, match="both trained on and held out"):
        measure_traces(generator, learned, learned)


def test_scores_are_minus_losses_and_the_area_is_their_order(trained, records):
    other = fresh(40, "new", 4)
    found = generator_membership(trained[0], records, other, sigmas=(0.3, 1.0), seed=0)
    np.testing.assert_array_equal(found.members, -denoising_losses(trained[0], records, (0.3, 1.0), 0))
    np.testing.assert_array_equal(found.nonmembers, -denoising_losses(trained[0], other, (0.3, 1.0), 0))
    assert found.sigmas == (0.3, 1.0)
    for s, area in enumerate(found.by_sigma):
        above = np.mean(found.members[:, None, s] > found.nonmembers[None, :, s])
        assert area.value == pytest.approx(above)
    means = found.members.mean(axis=1), found.nonmembers.mean(axis=1)
    assert found.mean.value == pytest.approx(np.mean(means[0][:, None] > means[1][None]))
    assert found.mean.se == pytest.approx(hanley_mcneil_se(found.mean.value, 96, 40))


@pytest.mark.slow
def test_an_overfitted_generator_gives_its_rows_away(tmp_path):
    """24 rows of noise, which have nothing in common, seen 500 times each."""
    train, other = (dataclasses.replace(fresh(24, name, 1), images=noise_images(24, name)) for name in ("in", "out"))
    options = dict(images=12_000, batch=24, flip=False, drop_each=0.0, widths=(32, 64), sample_batch=24)
    generator = fit_generator(train, dataclasses.replace(TINY, **options), tmp_path, seed=0)
    found = generator_membership(generator, train, other, sigmas=(0.3, 1.0), seed=0)
    assert found.mean.value > 0.8
    assert found.mean.ci_low > 0.6


def test_chance_is_one_half(trained, records):
    """A network that says nothing knows no members; 96 against 96 rows, within 4 standard errors."""
    generator = Generator(Untrained(0.0), trained[0].card)
    found = generator_membership(generator, records, fresh(96, "new", 4))
    assert found.mean.value == pytest.approx(0.5, abs=4 * found.mean.se)
    assert 0.03 < found.mean.se < 0.05  # Hanley and McNeil: 0.0417 at 0.5
    assert found.mean.ci_low < 0.5 < found.mean.ci_high


def test_the_table_of_memory_tells_a_copying_generator_from_an_honest_one(trained, records):
    holdout = fresh(96, "held out", 4)
    copying = dataclasses.replace(records, ids=np.array([f"gate/{row_id}" for row_id in records.ids.tolist()]))
    found = measure_memory(trained[0], copying, records, holdout, limit=50, seed=1)
    assert found["samples"] == 50
    assert found["copies"]["ratio"] == 1
    assert found["neighbours"]["share"] > 0.9  # rows that no held-out row matches are not counted as training rows
    assert found["copies_of_held_out"]["ratio"] < 0.2
    assert found["membership"]["members"] == found["membership"]["nonmembers"] <= 50
    honest = measure_memory(trained[0], fresh(96, "again", 4), records, holdout, limit=96, seed=1)
    assert honest["neighbours"]["share"] < 0.6
    assert honest["copies"]["ratio"] < 0.2
    json.dumps(found, allow_nan=False)
