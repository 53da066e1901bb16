"""Priors: where they come from and which are refused."""

import dataclasses
import math

import numpy as np
import pytest

from tfpdu.bias import (
    Constraint,
    Prior,
    bias_report,
    eda_prior,
    given_prior,
    need_of_cells,
    reference_prior,
    uniform_prior,
)
from tfpdu.bias.priors import check
from tfpdu.common import UserError
from tfpdu.data import AttributeSpec

COLOUR = ("colour", ("black", "orange"))


@pytest.fixture
def pets(table):
    """All dogs black, all cats orange, half and half: every marginal is fair."""
    return table([0] * 50 + [1] * 50, {COLOUR: [1] * 50 + [0] * 50})


@pytest.fixture
def skewed(table):
    return table([0, 1] * 50, {COLOUR: [0] * 80 + [1] * 20})


def test_uniform_and_given_priors(skewed):
    marginal, joint = uniform_prior(skewed, ["colour", ("label", "colour")]).constraints
    assert marginal.probabilities.tolist() == [0.5, 0.5]
    assert joint.probabilities.tolist() == [[0.25, 0.25], [0.25, 0.25]]
    stated = given_prior(skewed, ["colour", ("label", "colour")], [[0.7, 0.3], [0.1, 0.2, 0.3, 0.4]])
    assert stated.constraints[1].probabilities.tolist() == [[0.1, 0.2], [0.3, 0.4]]
    assert stated.variables == ("colour", "label")


def test_prior_of_another_table_leaves_unknown_rows_out(skewed, table):
    census = table([0, 0, 1, 1, 1], {COLOUR: [0, 1, 1, 1, -1]})
    prior = reference_prior(skewed, ["colour"], census)
    assert prior.constraints[0].probabilities.tolist() == [0.25, 0.75]
    smooth = reference_prior(skewed, ["colour"], census, smoothing=1)
    assert np.allclose(smooth.constraints[0].probabilities, [2 / 6, 4 / 6])


def test_reference_with_other_values_is_refused(skewed, table):
    other = table([0, 1], {("colour", ("orange", "black")): [0, 1]})
    with pytest.raises(UserError, match="'colour' has other values in the reference table"):
        reference_prior(skewed, ["colour"], other)


def test_marginals_do_not_see_what_the_joint_sees(pets):
    marginals = bias_report(pets, pets, uniform_prior(pets, ["label", "colour"]))
    assert marginals["kl_before"] == 0
    assert marginals["joint"]["label x colour"]["kl_before"] == math.inf  # shown although no prior states it
    joint = bias_report(pets, pets, uniform_prior(pets, [("label", "colour")]), smoothing=1)
    expected = math.log(0.25 / (1 / 104)) / 2 + math.log(0.25 / (51 / 104)) / 2
    assert joint["kl_before"] == pytest.approx(expected)
    assert joint["attributes"]["label x colour"]["values"] == ["cat, black", "cat, orange", "dog, black", "dog, orange"]
    assert joint["joint"] == {}


def test_report_has_the_fields_of_bias_json(skewed):
    report = bias_report(skewed, skewed, uniform_prior(skewed, ["colour"]))
    assert set(report) >= {"attributes", "total_before", "total_after", "kl_before", "kl_after", "n_added", "smoothing"}
    entry = report["attributes"]["colour"]
    assert entry["counts_before"] == [80, 20]
    assert entry["before"] == [0.8, 0.2]
    assert entry["kl_before"] == pytest.approx(0.223143551)
    assert report["total_before"] == pytest.approx(0.024896522)
    assert report["n_added"] == 0


def test_unknown_rows_are_left_out_of_the_distribution(table):
    records = table([0, 1, 0, 1], {COLOUR: [0, 1, -1, -1]})
    report = bias_report(records, records, uniform_prior(records, ["colour", ("label", "colour")]))
    assert report["attributes"]["colour"]["counts_before"] == [1, 1]
    assert report["attributes"]["label x colour"]["counts_before"] == [1, 0, 0, 1]


def test_realised_attributes_are_reported_beside_the_requested_ones(skewed):
    judged = dataclasses.replace(skewed, realised=np.where(np.arange(100)[:, None] < 50, 0, 1).astype(np.int8))
    entry = bias_report(skewed, judged, uniform_prior(skewed, ["colour"]))["attributes"]["colour"]
    assert entry["after"] == [0.8, 0.2]
    assert entry["after_realised"] == [0.5, 0.5]
    assert entry["kl_after_realised"] == 0


@pytest.mark.parametrize(
    ("over", "given", "message"),
    [
        (["colour"], [[0.5, 0.4]], "prior of colour: the probabilities sum to 0.9, expected 1"),
        (["colour"], [[1.5, -0.5]], "prior of colour: expected probabilities of at least 0"),
        (["colour"], [[0.2, 0.3, 0.5]], "prior of colour: expected 2 numbers, got 3"),
        (["color"], [[0.5, 0.5]], "unknown attribute 'color', did you mean 'colour'"),
        (["colour", "colour"], [[0.5, 0.5]] * 2, "different constraints"),
        ([("colour", "colour")], [[0.25] * 4], "different variables"),
        (["colour"], [], "0 lists of probabilities for 1 constraints"),
    ],
)
def test_priors_that_are_wrong_say_so_in_one_line(skewed, over, given, message):
    with pytest.raises(UserError, match=message) as error:
        given_prior(skewed, over, given)
    assert "\n" not in str(error.value)


def test_attribute_with_one_value_in_the_data_is_refused(table):
    records = table([0, 1], {COLOUR: [0, 0]})
    with pytest.raises(UserError, match="'colour' has only 'black' in the data"):
        uniform_prior(records, ["colour"])


def test_attribute_without_known_value_is_refused(table):
    with pytest.raises(UserError, match="'colour' has no known value"):
        uniform_prior(table([0, 1], {COLOUR: [-1, -1]}), ["colour"])


def test_cell_without_rows_is_allowed_only_if_told(pets):
    prior = uniform_prior(pets, [("label", "colour")])
    with pytest.raises(UserError, match=r"\(cat, black\) has no row to learn it from \(2 such cells\)"):
        check(prior, pets)
    check(prior, pets, allow_empty_cells=True)


def test_prior_of_another_shape_is_refused(skewed):
    with pytest.raises(UserError, match=r"expected shape \[2\], got \[3\]"):
        check(Prior((Constraint(("colour",), np.full(3, 1 / 3)),)), skewed)


def test_constraint_keeps_its_numbers():
    numbers = np.array([0.5, 0.5])
    constraint = Constraint(("colour",), numbers)
    numbers[0] = 9
    assert constraint.probabilities.tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="read-only"):
        constraint.probabilities[0] = 1
    assert AttributeSpec("colour", ("a", "b")).cardinality == 2


def test_eda_without_a_fitness_is_refused_with_the_reason(skewed):
    with pytest.raises(UserError, match=r"D = EDA\(S\) = P, so KL = 0"):
        eda_prior(skewed, ["colour"], None)


@pytest.mark.parametrize("eda", ["umda", "mimic", "cga"])
def test_eda_prior_leans_towards_need(skewed, eda):
    prior = eda_prior(skewed, ["colour"], [np.array([0.05, 0.40])], eda=eda, seed=1)
    orange = prior.constraints[0].probabilities[1]
    assert 0.2 < orange < 0.7
    assert np.all(prior.constraints[0].probabilities >= 0.5 * np.array([0.8, 0.2]) - 1e-12)


def test_umda_prior_of_one_generation_by_hand(skewed):
    # The better half of 80:20 is all 20 orange rows and 30 black ones: (0.6, 0.4).
    prior = eda_prior(skewed, ["colour"], [lambda rows: rows[:, 0].astype(float)], weight=1.0)
    assert np.allclose(prior.constraints[0].probabilities, [0.6, 0.4])


def test_eda_prior_gives_nothing_to_cells_without_rows(pets):
    prior = eda_prior(pets, [("label", "colour")], [np.array([[0.0, 0.1], [0.3, 0.0]])])
    assert prior.constraints[0].probabilities[0, 0] == 0
    assert prior.constraints[0].probabilities[1, 1] == 0
    assert prior.constraints[0].probabilities[1, 0] > 0.5


def test_eda_prior_does_not_depend_on_the_rows_order(skewed):
    shuffled = skewed.take(np.random.default_rng(0).permutation(100))
    one, two = (eda_prior(t, [("label", "colour")], [np.ones(4)]).constraints[0] for t in (skewed, shuffled))
    assert np.array_equal(one.probabilities, two.probabilities)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"eda": "mimik"}, "did you mean 'mimic'"), ({"weight": 2}, "weight"), ({"generations": 0}, "generations")],
)
def test_eda_prior_options_are_checked(skewed, options, message):
    with pytest.raises(UserError, match=message):
        eda_prior(skewed, ["colour"], [np.ones(2)], **options)


def test_eda_fitness_of_the_wrong_size_is_refused(skewed):
    with pytest.raises(UserError, match=r"fitness of shape \[2\]"):
        eda_prior(skewed, ["colour"], [np.ones(3)])


def test_need_of_a_cell_is_its_error_rate_drawn_to_the_mean(skewed):
    wrong = np.zeros(100, bool)
    wrong[80:90] = True  # 10 of 20 orange, mean 0.1
    assert np.allclose(need_of_cells(skewed, wrong, "colour"), [0.1 / 81, 10.1 / 21])
    assert need_of_cells(skewed, wrong, ("label", "colour")).shape == (2, 2)
