"""The audit of a model: selection, matching, one question per row, and its verdict with and without a leak."""

import dataclasses
import json

import numpy as np
import pytest

from tests.loop_config import tiny_config
from tfpdu.audit import AuditSettings, audit_members, collect_signals
from tfpdu.audit.selection import evaluation_role, matched
from tfpdu.common import UserError, files
from tfpdu.common.seeds import id_hashes
from tfpdu.data.records import AttributeSpec, Records
from tfpdu.data.views import ViewPolicy, render
from tfpdu.settings import Settings

POLICY = ViewPolicy(count=3, shift=1)
SEED = 11
ROW_KEYS = [
    "iteration", "attack", "protocol", "population", "success_rate", "ci_low", "ci_high", "tpr", "tnr",
    "auc", "auc_ci_low", "auc_ci_high", "tpr_at_fpr", "n_members", "n_nonmembers", "p_value", "p_holm", "reverse",
]  # fmt: skip


def _table(n, prefix, seed=0, classes=3, subjects=None):
    generator = np.random.default_rng([seed, len(prefix), ord(prefix[0])])
    return Records(
        images=generator.integers(0, 256, (n, 6, 6, 1), np.uint8),
        labels=generator.integers(0, classes, n).astype(np.int32),
        attributes=generator.integers(0, 2, (n, 1)).astype(np.int8),
        ids=np.array([f"{prefix}-{i:05d}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(AttributeSpec("tint", ("dark", "light")),),
        label_names=tuple(f"class {i}" for i in range(classes)),
        subjects=subjects,
    )


class _Memory:
    """Answers surely and rightly on the very views it was trained on; elsewhere by a hash of the picture."""

    def __init__(self, trained_on, classes=3):
        self.asked, self.largest, self.classes, self._known = 0, 0, classes, {}
        if trained_on is not None:
            for j in range(POLICY.count):
                views = render(trained_on.images, trained_on.ids, np.full(len(trained_on), j), POLICY, SEED)
                self._known |= {v.tobytes(): y for v, y in zip(views, trained_on.labels, strict=True)}

    def __call__(self, images):
        self.asked, self.largest = self.asked + len(images), max(self.largest, len(images))
        out = np.empty((len(images), self.classes))
        for i, image in enumerate(images):
            seed = id_hashes([image.tobytes().hex()], "answer")[0]
            out[i] = np.random.default_rng(seed).dirichlet(np.ones(self.classes))
            label = self._known.get(image.tobytes())
            if label is not None:
                out[i] = 0.02 * out[i] + 0.98 * (np.arange(self.classes) == label)
        return out


@pytest.fixture(scope="module")
def tables():
    return _table(600, "private"), _table(500, "calibration"), _table(500, "evaluation")


def _audit(model, populations, tables, notes=None, **options):
    settings = AuditSettings(**({"rows": 120} | options))
    note = (lambda line: None) if notes is None else notes.append
    return audit_members(
        model, populations, tables[1], tables[2], policy=POLICY, seed=SEED, settings=settings, iteration=4, note=note
    )


def test_rows_have_the_schema_and_survive_json(tables, tmp_path):
    populations = {"all_originals": tables[0], "forgotten": tables[0].take(np.arange(250))}
    rows = _audit(_Memory(tables[0]), populations, tables, protocols=("holdout", "yu2021"))
    assert [(r["population"], r["protocol"], r["attack"]) for r in rows] == [
        (population, protocol, attack)
        for population in populations
        for protocol in ("holdout", "yu2021")
        for attack in ("m_loss", "m_mean", "moments")
    ]
    for row in rows:
        assert list(row) == ROW_KEYS
        assert row["iteration"] == 4
        assert row["n_members"] == row["n_nonmembers"]
        assert 0 <= row["ci_low"] <= row["success_rate"] <= row["ci_high"] <= 1
        assert list(row["tpr_at_fpr"]) == ["0.1", "0.01"]
    files.write_json(tmp_path / "audit.json", rows)
    assert json.loads((tmp_path / "audit.json").read_text()) == rows


def test_memorising_model_is_found_out_and_forgotten_rows_are_not(tables):
    private = tables[0]
    forgotten, remaining = private.take(np.arange(300)), private.take(np.arange(300, 600))
    populations = {"all_originals": private, "forgotten": forgotten, "remaining": remaining}
    rows = {
        (r["population"], r["attack"]): r
        for r in _audit(_Memory(remaining), populations, tables, attacks=("m_mean", "moments"))
    }
    for attack in ("m_mean", "moments"):
        assert rows["remaining", attack]["success_rate"] > 0.9
        assert rows["remaining", attack]["tpr_at_fpr"]["0.1"] > 0.9
        assert rows["remaining", attack]["tpr_at_fpr"]["0.01"] is not None
        assert rows["forgotten", attack]["ci_low"] <= 0.5 <= rows["forgotten", attack]["ci_high"]
        assert 0.6 < rows["all_originals", attack]["success_rate"] < 0.9


def test_model_without_memory_is_at_one_half(tables):
    covered, rates = 0, []
    for trial in range(4):
        trial_tables = [_table(n, prefix, seed=trial + 1) for n, prefix in ((600, "p"), (500, "c"), (500, "e"))]
        for row in _audit(_Memory(None), {"all_originals": trial_tables[0]}, trial_tables):
            rates.append(row["success_rate"])
            covered += row["ci_low"] <= 0.5 <= row["ci_high"]
    assert covered >= 10  # of 12
    assert np.mean(rates) == pytest.approx(0.5, abs=0.03)


def test_each_row_is_asked_once_however_many_populations_hold_it(tables):
    alone, thrice = _Memory(None), _Memory(None)
    _audit(alone, {"all_originals": tables[0]}, tables, attacks=("m_loss",), block_rows=64)
    _audit(thrice, dict.fromkeys(("a", "b", "c"), tables[0]), tables, attacks=("m_loss",), block_rows=64)
    assert thrice.asked == alone.asked == 4 * 120 * (1 + POLICY.count)
    assert alone.largest == 64


def test_result_depends_on_no_order_of_rows(tables):
    generator = np.random.default_rng(0)
    shuffled = [table.take(generator.permutation(len(table))) for table in tables]
    model = _Memory(tables[0].take(np.arange(200)))
    first = _audit(model, {"all_originals": tables[0]}, tables, protocols=("holdout", "yu2021"))
    assert _audit(model, {"all_originals": shuffled[0]}, shuffled, protocols=("holdout", "yu2021")) == first


def test_members_are_asked_with_their_training_views(tables):
    few = tables[0].take(np.arange(5))
    signals = collect_signals(_Memory(few), few, POLICY, SEED)
    assert signals.losses.shape == (5, 3)
    assert (signals.losses < 0.03).all()
    assert (collect_signals(_Memory(few), few, POLICY, SEED + 1).losses > 0.03).any()
    assert signals.losses0 == pytest.approx(-np.log(signals.probabilities[np.arange(5), few.labels]))


def test_signals_follow_ids_and_not_blocks(tables):
    few, model = tables[0].take(np.arange(40)), _Memory(None)
    whole, blocks = collect_signals(model, few, POLICY, SEED), collect_signals(model, few, POLICY, SEED, block_rows=7)
    assert np.array_equal(whole.losses, blocks.losses)
    order = np.random.default_rng(3).permutation(40)
    assert np.array_equal(collect_signals(model, few.take(order), POLICY, SEED).losses, whole.losses[order])
    assert np.array_equal(whole.of(few.ids[order]).losses, whole.losses[order])
    with pytest.raises(UserError, match="unknown id 'nobody'"):
        whole.of(np.array(["nobody"]))


def test_attacks_of_tensorflow_privacy_join_on_request(tables):
    settings = {"attacks": ("m_mean",), "tensorflow_privacy": ("threshold", "entropy", "knn")}
    rows = _audit(_Memory(tables[0]), {"all": tables[0]}, tables, **settings)
    assert [(row["protocol"], row["attack"]) for row in rows] == [
        ("holdout", "m_mean"),
        *(("tensorflow_privacy", f"tfp_{name}") for name in ("threshold", "entropy", "knn")),
    ]
    assert all(list(row) == ROW_KEYS for row in rows)


def test_tiny_and_empty_populations_are_left_out_with_a_reason(tables):
    notes = []
    populations = {"empty": tables[0].take(np.arange(0)), "tiny": tables[0].take(np.arange(12)), "all": tables[0]}
    rows = _audit(_Memory(None), populations, tables, notes, attacks=("m_loss",))
    assert [row["population"] for row in rows] == ["all"]
    assert [line.split(",")[0] for line in notes] == ["audit: tiny left out"]
    assert _audit(_Memory(None), {"empty": populations["empty"]}, tables, notes) == []


def test_members_among_the_nonmembers_are_refused(tables):
    both = dataclasses.replace(tables[0], ids=np.where(np.arange(600) == 7, tables[2].ids[0], tables[0].ids))
    with pytest.raises(UserError, match=r"^audit: id 'evaluation-00000' is in 'all' and in 'evaluation_nonmembers'"):
        _audit(_Memory(None), {"all": both}, tables)
    with pytest.raises(UserError, match="disjoint"):
        _audit(_Memory(None), {"all": tables[0]}, (tables[0], tables[1], tables[1]))
    people = [dataclasses.replace(t, subjects=np.array(["anna"] + [""] * (len(t) - 1))) for t in tables]
    with pytest.raises(UserError, match="subject 'anna'"):
        _audit(_Memory(None), {"all": people[0]}, people)


def test_answers_that_are_no_probabilities_are_refused(tables):
    with pytest.raises(UserError, match="logits"):
        _audit(lambda images: np.full((len(images), 3), 5.0), {"all": tables[0]}, tables)
    with pytest.raises(UserError, match=r"expected probabilities \[.*, 3\]"):
        _audit(lambda images: np.full((len(images), 2), 0.5), {"all": tables[0]}, tables)


def test_roles_part_subjects_whole_and_do_not_depend_on_the_population():
    subjects = np.array([f"person {i % 50}" if i % 5 else "" for i in range(400)])
    table = _table(400, "people", subjects=subjects)
    role = evaluation_role(table, 1)
    assert 130 < role.sum() < 270
    for person in np.unique(subjects[subjects != ""]):
        assert len(set(role[subjects == person])) == 1
    assert len(set(role[subjects == ""])) == 2
    assert np.array_equal(evaluation_role(table.take(np.arange(100, 200)), 1), role[100:200])


def _cells(table, ids):
    rows = table.take(table.rows_of(ids.tolist()))
    return sorted(zip(rows.labels.tolist(), rows.attributes[:, 0].tolist(), strict=True))


def test_matching_gives_both_sides_the_same_cells(tables):
    biased = tables[0].take(np.flatnonzero((tables[0].labels == 0) | (np.arange(600) % 4 == 0)))
    pairs = matched(biased, np.ones(len(biased), bool), tables[1], 100, 0)
    assert len(pairs.members) == len(pairs.nonmembers) == pairs.exact == 100
    assert pairs.dropped == 0
    assert _cells(biased, pairs.members) == _cells(tables[1], pairs.nonmembers)
    assert list(pairs.members) == sorted(pairs.members)


def test_short_cells_fall_back_to_the_label_and_then_drop(tables):
    pool = tables[1]
    pool = pool.take((pool.labels == 0) & (pool.attributes[:, 0] == 0) | (pool.labels == 1))  # no light class 0, no 2
    everyone = np.ones(600, bool)
    pairs = matched(tables[0], everyone, pool, 90, 0)
    members = tables[0].take(tables[0].rows_of(pairs.members.tolist()))
    partners = pool.take(pool.rows_of(pairs.nonmembers.tolist()))
    assert sorted(members.labels) == sorted(partners.labels)
    assert 2 not in members.labels
    assert pairs.dropped == 90 - len(pairs.members) > 10
    assert 0 < pairs.exact < len(pairs.members)


def test_badly_matched_population_is_noted(tables):
    dark = tables[1].take(tables[1].attributes[:, 0] == 0)
    notes = []
    _audit(_Memory(None), {"all": tables[0]}, (tables[0], dark, tables[2]), notes, attacks=("m_loss",))
    assert len(notes) == 1
    assert notes[0].startswith("audit: all, calibration: of 120 rows")


def test_draws_of_overlapping_populations_overlap(tables):
    """The first rows in hashed order of the whole are among the first of the parts: few more rows have to be asked."""
    parts = [tables[0].take(np.arange(300)), tables[0].take(np.arange(300, 600))]
    drawn = [matched(t, np.ones(len(t), bool), tables[1], 100, 0).members for t in (tables[0], *parts)]
    assert set(drawn[0]) <= set(drawn[1]) | set(drawn[2])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"attacks": ("m_los",)}, "did you mean 'm_loss'"),
        ({"protocols": ("hold",)}, "protocols: unknown 'hold'"),
        ({"rows": 0}, "^rows: expected"),
        ({"fprs": (2.0,)}, "^fprs: expected"),
        ({"tensorflow_privacy": ("svm",)}, "tensorflow_privacy: unknown 'svm'"),
        ({"tensorflow_privacy": ("lr",), "least_rows": 5}, "least_rows: expected a number from 12"),
    ],
)
def test_wrong_settings_are_refused(options, complaint):
    with pytest.raises(UserError, match=complaint):
        AuditSettings(**options)


def test_run_takes_shards_as_references_and_refuses_attacks_that_need_more():
    config = tiny_config(audit__attacks=("m_loss", "blind", "lira_offline", "rmia_offline"))
    assert Settings.from_config(config).audit.attacks == ("m_loss", "blind", "lira_offline", "rmia_offline")
    for attack, words in (
        ("two_versions", r"^config\.audit\.attacks: 'two_versions' needs earlier, which a run"),
        ("adversarial_confidence", "needs adversarial, which a run"),
        ("rmia_online", "needs models trained with each row; take the offline one"),
    ):
        with pytest.raises(UserError, match=words):
            Settings.from_config(tiny_config(audit__attacks=("m_loss", attack)))
    with pytest.raises(UserError, match=r"'lira_offline' needs reference models, so config.ensemble.shards >= 2"):
        Settings.from_config(tiny_config(audit__attacks=("lira_offline",), ensemble__shards=1))
