"""UMDA, MIMIC and cGA by their known answers, by brute force, and by what they find."""

import itertools

import numpy as np
import pytest

from tfpdu.bias import CGA, MIMIC, UMDA, kl_divergence
from tfpdu.bias.eda.categorical import all_rows, best_first
from tfpdu.bias.eda.mimic import chain_order, entropy
from tfpdu.common import UserError


def codes(text):
    return np.array([[int(digit) for digit in row] for row in text.split(",")])


BINARY = codes("0000,0001,0010,0011,0000,0111,1100,1111")
TERNARY = codes("002,002,112,110,221,201")


def one_max(rows):
    return rows.sum(axis=1).astype(float)


def four_peaks(rows, T=3):
    head = np.cumprod(rows == 1, axis=1).sum(axis=1)
    tail = np.cumprod(rows[:, ::-1] == 0, axis=1).sum(axis=1)
    return np.maximum(head, tail) + np.where((head > T) & (tail > T), rows.shape[1], 0.0)


def pair_entropy(rows, a, b):
    return entropy(np.unique(rows[:, [a, b]], axis=0, return_counts=True)[1])


def test_umda_keeps_the_best_with_stable_ties_and_takes_their_marginals():
    population = codes("110,101,011,000")
    kept = population[best_first(one_max(population))[:2]]
    assert kept.tolist() == [[1, 1, 0], [1, 0, 1]]
    model = UMDA()
    model.optimise(one_max, [2, 2, 2], seed=0, start=population, evaluations=4)
    assert [p[1] for p in model.probabilities] == [1.0, 0.5, 0.5]


def test_umda_smooths_counts():
    model = UMDA(alpha=1).fit(np.array([[0], [0], [0], [0], [1]]), [3])
    assert model.probabilities[0].tolist() == [0.625, 0.25, 0.125]
    assert kl_divergence([1 / 3] * 3, model.probabilities[0]) == pytest.approx(0.2133008887, abs=1e-10)


def test_umda_margins_clamp_two_values_and_mix_more():
    assert UMDA(margin=0.05).fit(np.zeros((3, 1), int), [2]).probabilities[0].tolist() == [0.95, 0.05]
    assert np.allclose(UMDA(margin=0.1).fit(np.zeros((3, 1), int), [4]).probabilities[0], [0.7, 0.1, 0.1, 0.1])


def test_cga_step_moves_one_unit_to_the_winner():
    model = CGA()
    model.start([2, 2, 2], 10)
    model.step(np.array([1, 0, 1]), np.array([0, 0, 1]))
    assert [p[1] for p in model.probabilities] == [0.6, 0.5, 0.5]


def test_cga_categorical_step():
    model = CGA()
    model.start([3, 3], 10)
    model.step(np.array([2, 1]), np.array([0, 1]))
    assert np.allclose(model.probabilities[0], [0.2333333, 0.3333333, 0.4333333], atol=1e-7)
    assert np.allclose(model.probabilities[1], 1 / 3)


def test_cga_clips_at_zero_and_gives_the_rest_back():
    model = CGA()
    model.start([3], 10)
    for _ in range(5):
        model.step(np.array([2]), np.array([0]))
    assert model.probabilities[0][0] == 0.0
    assert model.probabilities[0][2] == pytest.approx(2 / 3, abs=1e-15)
    assert model.probabilities[0].sum() == 1.0


def test_cga_margin_keeps_every_value_alive():
    model = CGA(units=20, margin=0.05)
    model.optimise(one_max, [2] * 5, seed=0, evaluations=4000)
    assert [p.min() for p in model.probabilities] == [0.05] * 5


def test_cga_tournament_of_three_updates_against_both_losers():
    seen = []

    class Watched(CGA):
        def step(self, winner, loser):
            seen.append((one_max(winner[None])[0], one_max(loser[None])[0]))
            super().step(winner, loser)

    Watched(units=50, tournament=3).optimise(one_max, [2] * 8, seed=1, evaluations=30)
    assert len(seen) == 20
    assert all(winner >= loser for winner, loser in seen)


def test_mimic_chain_of_binary_rows():
    single = [entropy(np.bincount(BINARY[:, i])) for i in range(4)]
    assert single == pytest.approx([0.562335, 0.661563, 0.693147, 0.693147], abs=1e-6)
    assert pair_entropy(BINARY, 0, 1) - single[0] == pytest.approx(0.337921, abs=1e-6)
    assert pair_entropy(BINARY, 1, 2) - single[1] == pytest.approx(0.659325, abs=1e-6)
    assert pair_entropy(BINARY, 1, 3) - single[1] == pytest.approx(0.659325, abs=1e-6)
    assert MIMIC().fit(BINARY, [2] * 4).order == (0, 1, 2, 3)


def test_mimic_chain_of_ternary_rows():
    single = [entropy(np.bincount(TERNARY[:, i])) for i in range(3)]
    assert single == pytest.approx([1.098612, 1.011404, 1.011404], abs=1e-6)
    assert pair_entropy(TERNARY, 0, 1) - single[1] == pytest.approx(0.318257, abs=1e-6)
    assert pair_entropy(TERNARY, 1, 2) - single[1] == pytest.approx(0.549306, abs=1e-6)
    assert MIMIC().fit(TERNARY, [3] * 3).order == (1, 0, 2)


def chain_cost(rows, order):
    single = [entropy(np.bincount(rows[:, i])) for i in range(rows.shape[1])]
    return single[order[0]] + sum(pair_entropy(rows, a, b) - single[a] for a, b in itertools.pairwise(order))


def joint_of(rows, cardinalities):
    flat = np.ravel_multi_index(tuple(rows.T), cardinalities)
    return np.bincount(flat, minlength=int(np.prod(cardinalities))) / len(rows)


@pytest.mark.parametrize("rows", [BINARY, TERNARY], ids=["binary", "ternary"])
def test_mimic_divergence_from_the_joint_is_the_chains_excess_entropy(rows):
    cardinalities = [int(rows.max()) + 1] * rows.shape[1]
    model = MIMIC().fit(rows, cardinalities)
    joint = joint_of(rows, cardinalities)
    chain = np.exp(model.log_prob(all_rows(cardinalities)))
    expected = chain_cost(rows, model.order) - entropy(joint)
    assert kl_divergence(joint, chain) == pytest.approx(expected, abs=1e-12)
    assert expected >= 0


def naive_order(rows):
    """The definition, spelt out over all pairs of rows' values, slowly."""
    n, j = rows.shape

    def joint_entropy(columns):
        seen = {}
        for row in rows.tolist():
            key = tuple(row[c] for c in columns)
            seen[key] = seen.get(key, 0) + 1
        return -sum(c / n * np.log(c / n) for c in seen.values())

    order = [min(range(j), key=lambda i: (round(joint_entropy([i]), 12), i))]
    while len(order) < j:
        last = order[-1]
        rest = [i for i in range(j) if i not in order]
        order.append(min(rest, key=lambda i: (round(joint_entropy([last, i]) - joint_entropy([last]), 12), i)))
    return tuple(order)


@pytest.mark.parametrize("seed", range(8))
def test_mimic_order_is_the_naive_one(seed):
    generator = np.random.default_rng(seed)
    cardinalities = generator.integers(2, 4, 5).tolist()
    rows = np.stack([generator.integers(0, K, 60) for K in cardinalities], axis=1)
    rows[:, 3] = (rows[:, 1] + (generator.random(60) < 0.2)) % cardinalities[3]
    assert chain_order(rows, cardinalities) == naive_order(rows)


def test_greedy_chain_is_the_best_of_all_where_neighbours_are_closely_tied():
    generator = np.random.default_rng(3)
    columns = [(generator.random(400) < 0.2).astype(int)]
    for _ in range(4):  # x_k is x_(k-1) with a few flips: entropies rise along the chain
        columns.append(columns[-1] ^ (generator.random(400) < 0.06))
    rows = np.stack([columns[i] for i in (2, 0, 3, 1, 4)], axis=1)
    costs = {chain: chain_cost(rows, chain) for chain in itertools.permutations(range(5))}
    order = MIMIC().fit(rows, [2] * 5).order
    assert order == (1, 3, 0, 2, 4)
    assert costs[order] == pytest.approx(min(costs.values()), abs=1e-12)


def test_mimic_recovers_a_true_chain_exactly():
    # x0 -> x1 -> x2, counts that make the conditionals exact and the order come out as 0, 1, 2.
    rows = []
    for a, b, c in itertools.product(range(2), repeat=3):
        weight = (6, 2)[a] * ((3, 1)[b] if a == 0 else (1, 3)[b]) * ((3, 1)[c] if b == 0 else (1, 3)[c])
        rows += [[a, b, c]] * weight
    rows = np.array(rows)
    model = MIMIC().fit(rows, [2] * 3)
    assert model.order == (0, 1, 2)
    assert kl_divergence(joint_of(rows, [2] * 3), np.exp(model.log_prob(all_rows([2] * 3)))) < 1e-15


def test_independent_variables_make_mimic_umda():
    rows = np.array(list(itertools.product((0, 0, 1), (0, 1, 1, 2))))
    every = all_rows([2, 3])
    assert np.allclose(MIMIC().fit(rows, [2, 3]).log_prob(every), UMDA().fit(rows, [2, 3]).log_prob(every))


def test_mimic_gives_an_unseen_parent_a_uniform_conditional():
    model = MIMIC().fit(np.array([[0, 0], [0, 1], [0, 1]]), [2, 3])
    assert model.order == (0, 1)
    assert np.allclose(model.conditionals[0][1], 1 / 3)


@pytest.mark.parametrize(("n", "median"), [(20, 500), (50, 1000)])
def test_umda_solves_one_max(n, median):
    searches = [UMDA(margin=1 / n).optimise(one_max, [2] * n, seed=s, target=n) for s in range(50)]
    assert sum(search.fitness == n for search in searches) == 50
    assert np.median([search.evaluations for search in searches]) == pytest.approx(median, abs=100)


CGA_CASES = [
    (20, 26, 173),
    (20, 40, 228),
    (20, 100, 481),
    pytest.param(50, 55, 742, marks=pytest.mark.slow),
    pytest.param(50, 100, 1241, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("n", "units", "median"), CGA_CASES)
def test_cga_solves_one_max(n, units, median):
    searches = [CGA(units).optimise(one_max, [2] * n, seed=s, target=n) for s in range(50)]
    assert sum(search.fitness == n for search in searches) == 50
    assert np.median([search.evaluations for search in searches]) == pytest.approx(median, rel=0.15)


def test_mimic_solves_four_peaks_where_umda_often_fails():
    def solved(make):
        searches = [make().optimise(four_peaks, [2] * 20, seed=s, target=36, evaluations=40_000) for s in range(10)]
        return [search.evaluations for search in searches if search.fitness == 36]

    mimic = solved(lambda: MIMIC(alpha=1, margin=0.01, population=400, patience=20))
    umda = solved(lambda: UMDA(margin=1 / 20, population=400))  # at the usual margin 1/n
    assert len(mimic) == 10
    assert 2000 <= np.median(mimic) <= 7000
    assert len(umda) <= 8


def test_cga_without_selection_drifts_to_either_end_alike():
    # 2,000 independent variables are 2,000 runs: a neutral fitness couples none of them.
    model = CGA(units=20)
    model.optimise(lambda rows: np.zeros(len(rows)), [2] * 2000, seed=0, evaluations=10**6)
    ends = np.array([p[1] for p in model.probabilities])
    assert set(ends.tolist()) == {0.0, 1.0}
    assert ends.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2000))


@pytest.mark.parametrize(
    "make", [lambda: CGA(units=0), lambda: CGA(tournament=1), lambda: UMDA(alpha=-1), lambda: MIMIC(keep=2)]
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(UserError):
        make()
