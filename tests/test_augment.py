"""Algorithm 1 with a generator that paints colours: counts, labels, redraws, replenishment, alternatives."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.augment import AugmentSettings, debias, planned, replenish
from tfpdu.bias import bias_report, given_prior, source_id, uniform_prior, with_copies
from tfpdu.common import UserError
from tfpdu.common.seeds import hashed_order, rng, stable_hash
from tfpdu.data import AttributeSpec, Records, concatenate

KIND = AttributeSpec("kind", ("animal", "vehicle"))
COLOUR = AttributeSpec("colour", ("black", "orange"))


def make_table(labels, attributes, specs, label_names):
    n = len(labels)
    attributes = np.asarray(attributes, np.int8).reshape(n, len(specs))
    ids = np.array([f"row/{i:05d}" for i in range(n)], dtype=str)
    images = np.zeros((n, 2, 2, 3), np.uint8)
    labels = np.asarray(labels, np.int32)
    return Records(images, labels, attributes, ids, np.zeros(n, np.int8), specs, label_names)


def cifar_like(animals, vehicles):
    """Six animal classes and four vehicle classes in unequal shares."""
    generator = rng("cifar like", animals)
    shares = ([0.3, 0.2, 0.2, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1])
    labels = np.concatenate([generator.choice(6, animals, p=shares[0]), 6 + generator.choice(4, vehicles, p=shares[1])])
    return make_table(labels, (labels >= 6).astype(int), (KIND,), tuple("abcdefghij"))


def pets(black_dogs, orange_cats, orange_dogs=0, black_cats=0):
    """Labels cat, dog; colours black, orange."""
    counts = [(1, 0, black_dogs), (0, 1, orange_cats), (1, 1, orange_dogs), (0, 0, black_cats)]
    labels = np.repeat([label for label, _, _ in counts], [n for *_, n in counts])
    colours = np.repeat([colour for _, colour, _ in counts], [n for *_, n in counts])
    return make_table(labels, colours, (COLOUR,), ("cat", "dog"))


def paint(labels, attributes, keys):
    """A generator: red shows the label, green the first attribute, blue is the key's own shade."""
    red = labels * 10
    green = attributes[:, 0].astype(int) * 100 + 50
    blue = [stable_hash("shade", key) % 256 for key in keys]
    colours = np.stack([red, green, blue], axis=1).astype(np.uint8)
    return np.broadcast_to(colours[:, None, None, :], (len(keys), 2, 2, 3)).copy()


def look(images):
    """A judge that reads the first attribute off the green channel."""
    return (images[:, 0, 0, 1] >= 100).astype(np.int8)[:, None]


def attribute_counts(records):
    return np.bincount(records.attributes[:, 0], minlength=2).tolist()


@pytest.mark.parametrize("solver", ["exact", "gradient"])
@pytest.mark.parametrize(("animals", "vehicles", "added"), [(2959, 2041, [0, 918]), (800, 3200, [2400, 0])])
def test_papers_counts(animals, vehicles, added, solver):
    S = cifar_like(animals, vehicles)
    result = debias(S, uniform_prior(S, ["kind"]), paint, settings=AugmentSettings(solver=solver), seed=0)
    assert result.report["kl_after"] < 1e-6
    if solver == "exact":
        assert result.additions.tolist() == added
        assert attribute_counts(result.records) == [max(animals, vehicles)] * 2
        assert result.report["kl_after"] == 0
    assert result.additions == pytest.approx(np.array(added), rel=0.01, abs=0.01 * max(added))
    assert result.report["n_added"] == result.requested == result.additions.sum() == len(result.records) - len(S)


def test_originals_stay_first_and_untouched_and_new_rows_tell_their_lineage():
    S = cifar_like(60, 40)
    result = debias(S, uniform_prior(S, ["kind"]), paint, seed=3, iteration=0, generator_id="g-1").records
    new = result.take(np.arange(100, 120))
    assert np.array_equal(result.ids[:100], S.ids)
    assert np.array_equal(result.images[:100], S.images)
    assert new.ids[0] == "synthetic/00/000000"
    assert new.ids[-1] == "synthetic/00/000019"
    assert set(new.origin.tolist()) == {1}
    assert set(new.generator.tolist()) == {"g-1"}
    assert set(result.generator[:100].tolist()) == {""}
    expected = paint(new.labels, new.attributes, [f"{row_id}#0" for row_id in new.ids.tolist()])
    assert np.array_equal(new.images, expected)


def test_labels_of_added_rows_follow_the_shares_in_their_cell():
    S = cifar_like(2959, 2041)
    result = debias(S, uniform_prior(S, ["kind"]), paint, seed=0).records
    new = result.take(~result.is_original)
    vehicles = S.labels[S.attributes[:, 0] == 1]
    after = np.bincount(result.labels, minlength=10)[6:]
    assert np.all(np.abs(after - 2959 * np.bincount(vehicles, minlength=10)[6:] / 2041) < 1)
    assert np.all(new.labels >= 6)


def test_other_attributes_are_those_of_a_known_row_with_the_same_label_and_cell():
    size = AttributeSpec("size", ("s", "m", "l"))
    # In class 0 vehicles are small, in class 1 they are m or l; row 3's size nobody knows.
    labels = [0, 0, 0, 1, 1, 1, 0, 1]
    attributes = [[0, 2], [0, 2], [0, 2], [1, -1], [1, 1], [0, 0], [1, 0], [0, 1]]
    S = make_table(labels * 20, attributes * 20, (KIND, size), ("p", "q"))
    new = debias(S, uniform_prior(S, ["kind"]), paint, seed=0).records
    new = new.take(~new.is_original)
    pairs = {(int(label), *row) for label, row in zip(new.labels, new.attributes.tolist(), strict=True)}
    assert pairs == {(0, 1, 0), (1, 1, 1)}


def test_marginal_priors_miss_black_dogs_and_orange_cats_and_a_joint_prior_catches_them():
    S = pets(black_dogs=100, orange_cats=100)
    marginals = debias(S, uniform_prior(S, ["label", "colour"]), paint, seed=0)
    assert marginals.report["kl_before"] == 0
    assert len(marginals.records) == 200
    assert marginals.report["joint"]["label x colour"]["kl_before"] == math.inf

    joint = uniform_prior(S, [("label", "colour")])
    with pytest.raises(UserError, match="cat, black"):
        debias(S, joint, paint, seed=0)
    mended = debias(S, joint, paint, settings=AugmentSettings(allow_empty_cells=True), seed=0)
    assert mended.additions.tolist() == [[100, 0], [0, 100]]
    assert mended.report["kl_before"] == math.inf
    assert mended.report["kl_after"] == 0
    new = mended.records.take(~mended.records.is_original)
    assert sorted(set(zip(new.labels.tolist(), new.attributes[:, 0].tolist(), strict=True))) == [(0, 0), (1, 1)]


def test_joint_prior_fills_rare_combinations():
    S = pets(black_dogs=90, orange_cats=80, orange_dogs=10, black_cats=20)
    result = debias(S, uniform_prior(S, [("label", "colour")]), paint, seed=0)
    assert result.additions.tolist() == [[70, 10], [0, 80]]


def test_sample_depends_on_its_key_alone_and_a_redraw_has_another_key():
    asked = []

    def stubborn(labels, attributes, keys):
        asked.extend(keys)
        images = paint(labels, attributes, keys)
        images[:, :, :, 1] = 50  # always black, whatever was asked
        return images

    S = pets(black_dogs=10, orange_cats=7)
    settings_ = AugmentSettings(max_redraws=2)
    result = debias(S, uniform_prior(S, ["colour"]), stubborn, settings=settings_, seed=0, judge=look)
    assert result.requested == 3
    assert result.redrawn == 6
    assert result.kept_although_different == 3
    assert asked == [f"synthetic/00/{k:06d}#{redraw}" for redraw in range(3) for k in range(3)]
    new = result.records.take(~result.records.is_original)
    assert new.attributes[:, 0].tolist() == [1, 1, 1]  # as requested
    assert new.realised[:, 0].tolist() == [0, 0, 0]  # as seen
    assert result.report["attributes"]["colour"]["after"] == [0.5, 0.5]
    assert result.report["attributes"]["colour"]["after_realised"] == [13 / 20, 7 / 20]


def test_only_differing_samples_are_drawn_again():
    def sometimes(labels, attributes, keys):
        images = paint(labels, attributes, keys)
        for i, key in enumerate(keys):
            if key.endswith("#0") and int(key[-3]) % 2:  # odd rows fail at first
                images[i, :, :, 1] = 50
        return images

    S = pets(black_dogs=20, orange_cats=10)
    result = debias(S, uniform_prior(S, ["colour"]), sometimes, seed=0, judge=look)
    new = result.records.take(~result.records.is_original)
    assert (result.redrawn, result.kept_although_different) == (5, 0)
    assert np.array_equal(new.realised, new.attributes)
    keys = [f"{row_id}#{k % 2}" for k, row_id in enumerate(new.ids.tolist())]
    assert np.array_equal(new.images, paint(new.labels, new.attributes, keys))


def test_attribute_that_the_judge_does_not_judge_is_never_drawn_again():
    S = pets(black_dogs=20, orange_cats=10)
    result = debias(S, uniform_prior(S, ["colour"]), paint, seed=0, judge=lambda images: np.full((len(images), 1), -1))
    assert result.redrawn == 0
    assert result.records.realised[-1, 0] == -1


def test_fair_table_is_given_back_without_asking_the_generator():
    def never(*_):
        raise AssertionError("asked")

    S = pets(black_dogs=5, orange_cats=5)
    result = debias(S, uniform_prior(S, ["colour"]), never, seed=0)
    assert result.records is S
    assert result.requested == 0


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 20), st.integers(0, 20), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_debiasing_never_raises_the_bias_and_keeps_every_row(a, b, c, d, weight):
    S = pets(a, b, c, d)
    prior = given_prior(S, ["colour"], [[weight / 5, 1 - weight / 5]])
    result = debias(S, prior, paint, seed=1)
    assert result.report["kl_after"] < 1e-6
    assert result.report["kl_after"] <= result.report["kl_before"] + 1e-12
    assert len(result.records) == len(S) + result.additions.sum()
    assert len(set(result.records.ids.tolist())) == len(result.records)
    assert np.array_equal(result.records.ids[: len(S)], S.ids)


@given(st.permutations(range(47)), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_order_of_the_rows_does_not_matter(order, seed):
    S = pets(20, 10, 7, 10)
    one, two = (debias(t, uniform_prior(t, ["colour"]), paint, seed=seed).records for t in (S, S.take(np.array(order))))
    for field in ("ids", "labels", "attributes", "images"):
        assert np.array_equal(getattr(one, field)[47:], getattr(two, field)[47:])


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 25), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_replenishing_makes_exactly_as_many_rows_and_never_more_bias(a, b, m, seed):
    S = pets(a, b, 3, 3)
    prior = uniform_prior(S, ["colour"])
    start = debias(S, prior, paint, seed=0).records
    gone = start.ids[rng("gone", seed).permutation(len(start))[: min(m, len(start) - 1)]]
    left = start.without(gone)
    new = replenish(left, prior, len(gone), paint, seed=0, iteration=1, reference=start).records
    after = concatenate([left, new])
    assert len(new) == len(gone)
    assert len(after) == len(start)
    assert bias_report(after, after, prior)["kl_after"] <= bias_report(start, start, prior)["kl_after"] + 1e-15


def test_ten_steps_to_no_originals_keep_size_fairness_and_label_shares():
    S = cifar_like(2959, 2041)
    prior = uniform_prior(S, ["kind"])
    reference = current = debias(S, prior, paint, seed=0).records
    order = S.ids[hashed_order(S.ids.tolist(), 0, "forget")]
    for t in range(1, 11):
        gone = order[round(5000 * (t - 1) / 10) : round(5000 * t / 10)]
        left = current.without(gone)
        new = replenish(left, prior, len(gone), paint, seed=0, iteration=t, reference=reference).records
        assert set(new.origin.tolist()) == {t + 1}
        current = concatenate([left, new])
        assert len(current) == 5918
        assert current.is_original.sum() == 5000 - 500 * t
        assert attribute_counts(current) == [2959, 2959]  # exactly: what was removed is what is put back
    assert np.abs(np.bincount(current.labels) - np.bincount(reference.labels)).max() <= 2


def test_replenishing_several_constraints_at_once():
    S = pets(40, 30, 12, 18)
    prior = uniform_prior(S, ["label", "colour"])
    start = debias(S, prior, paint, seed=0).records
    assert bias_report(start, start, prior)["kl_after"] < 1e-6
    left = start.without(start.ids[rng("several").permutation(len(start))[:25]])
    new = replenish(left, prior, 25, paint, seed=0, iteration=1, reference=start).records
    after = concatenate([left, new])
    assert len(after) == len(start)
    assert bias_report(after, after, prior)["kl_after"] < 1e-6


def test_replenishing_reopens_a_cell_that_lost_its_last_row():
    S = pets(10, 8)
    prior = uniform_prior(S, ["colour"])
    start = debias(S, prior, paint, seed=0).records
    orange = start.ids[start.attributes[:, 0] == 1]
    left = start.without(orange)
    new = replenish(left, prior, len(orange), paint, seed=0, iteration=1, reference=start).records
    assert attribute_counts(new) == [0, 10]
    assert set(new.labels.tolist()) == {0}  # orange ones were cats


def test_numbers_of_replenished_rows_can_go_on_from_shard_to_shard():
    S = pets(10, 10)
    new = replenish(S, uniform_prior(S, ["colour"]), 2, paint, seed=0, iteration=4, first=7).records
    assert new.ids.tolist() == ["synthetic/04/000007", "synthetic/04/000008"]


def test_each_shard_is_balanced_by_itself_if_asked():
    S = pets(30, 18, 6, 2)
    shard_of = np.arange(len(S)) % 2
    result = debias(
        S, uniform_prior(S, ["colour"]), paint, settings=AugmentSettings(scope="shard"), seed=0, shard_of=shard_of
    )
    assert np.array_equal(result.shards[: len(S)], shard_of)
    for shard in (0, 1):
        counts = attribute_counts(result.records.take(result.shards == shard))
        assert counts[0] == counts[1]
    assert len(result.shards) == len(result.records)
    with pytest.raises(UserError, match="needs the shard of each of the 56 rows"):
        debias(S, uniform_prior(S, ["colour"]), paint, settings=AugmentSettings(scope="shard"), seed=0)


@pytest.mark.parametrize("scope", ["global", "shard"])
@pytest.mark.parametrize("method", ["none", "undersample", "reweigh", "oversample", "diffusion"])
def test_what_is_planned_is_what_will_be_added_or_refused(method, scope):
    S, how = pets(30, 18, 6, 2), AugmentSettings(method=method, scope=scope)
    options = {"settings": how, "seed": 0, "shard_of": np.arange(len(S)) % 2}
    made = debias(S, uniform_prior(S, ["colour"]), paint, **options)
    assert planned(S, uniform_prior(S, ["colour"]), **options) == made.additions.sum()
    if method in ("oversample", "diffusion"):
        milder = {**options, "settings": dataclasses.replace(how, max_growth=0.01)}
        for work in (lambda: planned(S, uniform_prior(S, ["colour"]), **milder),
                     lambda: debias(S, uniform_prior(S, ["colour"]), paint, **milder)):  # fmt: skip
            with pytest.raises(UserError, match="over max_growth"):
                work()
    if method != "none":
        with pytest.raises(UserError, match="'colour' has only 'black'"):
            planned(pets(30, 0), uniform_prior(S, ["colour"]), **{**options, "shard_of": np.arange(30) % 2})


def plain(S, method, prior=None, seed=0):
    return debias(S, prior or uniform_prior(S, ["colour"]), None, settings=AugmentSettings(method=method), seed=seed)


def test_none_measures_and_changes_nothing():
    S = pets(30, 10)
    result = plain(S, "none")
    assert result.records is S
    assert result.report["kl_after"] == result.report["kl_before"] > 0


def test_oversampling_copies_originals_under_ids_that_name_them():
    S = pets(30, 12)
    S = dataclasses.replace(S, subjects=np.array([f"person {i}" for i in range(42)]))
    result = plain(S, "oversample").records
    assert attribute_counts(result) == [30, 30]
    new = result.take(np.arange(42, 60))
    sources = [source_id(row_id) for row_id in new.ids.tolist()]
    assert new.ids[0].startswith("copy/00/000000/row/")
    assert np.array_equal(new.subjects, S.subjects[S.rows_of(sources)])
    assert max(sources.count(source) for source in sources) == 2  # each of the 12 once before any twice
    assert new.is_original.all()
    together = with_copies(result, [sources[0]])
    assert sources[0] in together
    assert len(together) == 1 + sources.count(sources[0])


def test_copies_are_never_copied_again():
    S = pets(30, 12)
    first = plain(S, "oversample").records
    left = first.without(first.ids[first.attributes[:, 0] == 0][:10])
    settings_ = AugmentSettings(method="oversample")
    new = replenish(left, uniform_prior(S, ["colour"]), 10, None, settings=settings_, seed=0, iteration=1).records
    assert len(new) == 10
    assert all(source_id(row_id).startswith("row/") for row_id in new.ids.tolist())


def test_undersampling_drops_by_hash_and_keeps_rows_of_unknown_value():
    S = make_table([0, 1] * 25, [0] * 30 + [1] * 12 + [-1] * 8, (COLOUR,), ("cat", "dog"))
    result = plain(S, "undersample").records
    assert [np.sum(result.attributes == v) for v in (0, 1, -1)] == [12, 12, 8]
    shuffled = plain(S.take(np.random.default_rng(0).permutation(50)), "undersample").records
    assert set(shuffled.ids.tolist()) == set(result.ids.tolist())
    assert set(plain(S, "undersample", seed=1).records.ids.tolist()) != set(result.ids.tolist())


def test_weights_have_mean_one_and_make_the_weighted_table_fair():
    S = pets(30, 8, 4, 6)
    prior = uniform_prior(S, ["label", "colour"])
    result = plain(S, "reweigh", prior)
    assert result.weights.mean() == pytest.approx(1)
    for column in (S.labels, S.attributes[:, 0]):
        assert np.allclose(np.bincount(column, result.weights), len(S) / 2)
    assert result.report["kl_after"] < 1e-12
    single = plain(S, "reweigh").weights
    assert np.allclose(single, np.where(S.attributes[:, 0] == 0, 24 / 36, 24 / 12))  # D(v) / P(v)


@pytest.mark.parametrize("method", ["none", "undersample", "reweigh"])
def test_methods_that_add_no_rows_replenish_none(method):
    S = pets(10, 10)
    new = replenish(
        S, uniform_prior(S, ["colour"]), 5, None, settings=AugmentSettings(method=method), seed=0, iteration=1
    )
    assert len(new.records) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "difusion"}, "did you mean 'diffusion'"),
        ({"solver": "x"}, "solver"),
        ({"scope": "x"}, "scope"),
        ({"rho": 0}, "rho: expected a number above 0"),
        ({"smoothing": -1}, "smoothing"),
        ({"max_redraws": -1}, "max_redraws"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        AugmentSettings(**options)


def test_prior_that_needs_too_many_rows_is_refused():
    S = pets(100, 2)
    with pytest.raises(UserError, match="max_growth=10"):
        debias(S, given_prior(S, ["colour"], [[0.01, 0.99]]), paint, seed=0)


def test_unattainable_threshold_says_what_is_attainable():
    S = pets(7, 5)
    prior = given_prior(S, ["colour"], [[1 / math.pi, 1 - 1 / math.pi]])
    with pytest.raises(UserError, match=r"in whole rows the bias falls to .* set rho above it"):
        debias(S, prior, paint, settings=AugmentSettings(rho=1e-13), seed=0)


def test_missing_generator_and_wrong_images_are_refused():
    S = pets(7, 5)
    prior = uniform_prior(S, ["colour"])
    with pytest.raises(UserError, match="needs a generator"):
        debias(S, prior, None, seed=0)
    with pytest.raises(UserError, match=r"images of shape \[2, 2, 2, 3\]"):
        debias(S, prior, lambda labels, attributes, keys: np.zeros((len(keys), 4, 4, 3), np.uint8), seed=0)


def test_without_replenishing_nothing_comes_for_what_goes():
    S = cifar_like(30, 30)
    settings = AugmentSettings(replenish=False)
    options = {"settings": settings, "seed": 0, "iteration": 1}
    assert len(replenish(S, uniform_prior(S, ["kind"]), 12, paint, **options).records) == 0
    added = debias(cifar_like(40, 20), uniform_prior(S, ["kind"]), paint, settings=settings, seed=0)
    assert len(added.records) == 80  # Algorithm 1 itself is as ever
