"""Slices of an audit: which rows are in them, what is counted on them, and agreement with tensorflow-privacy's."""

import numpy as np
import pytest

from tests.audit.test_tensorflow_privacy import tfp_rows
from tfpdu.audit import AuditSettings, Signals, auc, audit_members, roc_curve, slice_masks, success_rate
from tfpdu.audit import tensorflow_privacy as adapter
from tfpdu.common import UserError
from tfpdu.data.records import AttributeSpec, Records
from tfpdu.data.views import ViewPolicy
from tfpdu.testing import memorised_signals


def _records(n, prefix, seed=0):
    generator = np.random.default_rng([seed, ord(prefix[0])])
    return Records(
        images=generator.integers(0, 256, (n, 4, 4, 1), np.uint8),
        labels=generator.integers(0, 2, n).astype(np.int32),
        attributes=generator.integers(0, 2, (n, 1)).astype(np.int8),
        ids=np.array([f"{prefix}{i:04d}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(AttributeSpec("tint", ("dark", "light")),),
        label_names=("cat", "dog"),
    )


def _signals(records, seed=0):
    p = np.random.default_rng(seed).dirichlet(np.ones(2), len(records))
    loss = -np.log(p[np.arange(len(p)), records.labels])
    return Signals(records.ids, records.labels.astype(int), loss, loss[:, None], p)


def test_masks_follow_ids_whatever_the_order():
    records = _records(40, "r")
    signals = _signals(records)
    masks = slice_masks(signals, records, ("label", "correct", "tint"))
    assert list(masks) == ["label=cat", "label=dog", "correct=yes", "correct=no", "tint=dark", "tint=light"]
    assert np.array_equal(masks["label=dog"], records.labels == 1)
    assert np.array_equal(masks["correct=yes"], signals.probabilities.argmax(1) == records.labels)
    assert np.array_equal(masks["tint=light"], records.attributes[:, 0] == 1)
    order = np.random.default_rng(1).permutation(40)
    shuffled = slice_masks(signals.take(order[:30]), records.take(order[::-1]), ("tint",))
    assert np.array_equal(shuffled["tint=light"], masks["tint=light"][order[:30]])


def test_unknown_attribute_value_is_in_no_slice_and_unknown_names_are_refused():
    records = _records(40, "r")
    records.attributes[:5] = -1
    masks = slice_masks(_signals(records), records, ("tint",))
    assert (masks["tint=dark"] | masks["tint=light"]).sum() == 35
    with pytest.raises(UserError, match="unknown 'tin', did you mean 'tint'"):
        slice_masks(_signals(records), records, ("tin",))
    with pytest.raises(UserError, match="id 'x0000' is not among the records"):
        slice_masks(_signals(_records(3, "x")), records, ("label",))


class _RemembersTheDark:
    """Certain about the members of one tint alone."""

    def __init__(self, members):
        dark = members.take(members.attributes[:, 0] == 0)
        self._known = {image.tobytes(): y for image, y in zip(dark.images, dark.labels, strict=True)}

    def __call__(self, images):
        out = np.empty((len(images), 2))
        for i, image in enumerate(images):
            out[i] = np.random.default_rng(image.astype(int).ravel()).dirichlet(np.ones(2))
            label = self._known.get(image.tobytes())
            if label is not None:
                out[i] = 0.02 * out[i] + 0.98 * np.eye(2)[label]
        return out


def _audit(settings, members=None):
    members = members or _records(300, "m")
    return audit_members(
        _RemembersTheDark(members), {"members": members}, _records(300, "c"), _records(300, "e"),
        policy=ViewPolicy(count=1, shift=1), seed=1, settings=settings, note=lambda line: None,
    )  # fmt: skip


def test_audit_counts_each_slice_with_the_threshold_of_all():
    settings = AuditSettings(rows=120, attacks=("m_loss", "blind"), slices=("label", "correct", "tint"))
    rows = _audit(settings)
    plain = _audit(AuditSettings(rows=120, attacks=("m_loss", "blind")))
    whole = [row for row in rows if "slice" not in row]
    kept = [key for key in plain[0] if key != "p_holm"]  # more rows are more tests
    assert [{key: row[key] for key in kept} for row in whole] == [{key: row[key] for key in kept} for row in plain]
    assert [row["slice"] for row in rows[1:7]] == [
        "label=cat", "label=dog", "correct=yes", "correct=no", "tint=dark", "tint=light",
    ]  # fmt: skip
    found = {(row["attack"], row.get("slice")): row for row in rows}
    assert found["m_loss", "tint=dark"]["auc"] > 0.9
    assert found["m_loss", "tint=light"]["auc_ci_low"] < 0.5 < found["m_loss", "tint=light"]["auc_ci_high"]
    assert found["m_loss", "tint=dark"]["p_holm"] < 1e-6
    assert found["blind", "tint=dark"]["p_holm"] > 0.05
    sizes = [found["m_loss", name]["n_members"] for name in ("label=cat", "label=dog", None)]
    assert sizes[0] + sizes[1] == sizes[2]
    assert all(row["p_holm"] >= row["p_value"] for row in rows)


def test_small_slices_are_left_out():
    settings = AuditSettings(rows=120, attacks=("m_loss",), slices=("correct",), least_rows=40)
    rows = _audit(settings)
    assert {row.get("slice") for row in rows} < {None, "correct=yes", "correct=no"}
    assert all(min(row["n_members"], row["n_nonmembers"]) >= 40 for row in rows)
    with pytest.raises(UserError, match="slices: unknown 'colour'"):
        _audit(AuditSettings(slices=("colour",)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # upstream's bounds divide by zero
def test_slices_roc_and_advantage_equal_tensorflow_privacys():
    members, nonmembers = memorised_signals(150, 1, seed=3, classes=3)
    softened = [_softened(members, (1, 4)), _softened(nonmembers.take(np.arange(110)), (0.3, 1.5))]
    groups = [np.arange(len(side)) % 2 for side in softened]
    structures, attack = adapter.load("data_structures"), adapter.load("membership_inference_attack")
    data = structures.AttackInputData(
        loss_train=softened[0].losses0, loss_test=softened[1].losses0,
        logits_train=softened[0].probabilities, logits_test=softened[1].probabilities,
        labels_train=softened[0].labels, labels_test=softened[1].labels,
    )  # fmt: skip
    spec = structures.SlicingSpec(
        by_class=True, by_classification_correctness=True,
        all_custom_train_indices=[groups[0]], all_custom_test_indices=[groups[1]],
    )  # fmt: skip
    theirs = attack.run_attacks(data, spec).single_attack_results
    masks = [
        {f"label={code}": side.labels == code for code in range(3)}
        | {f"correct={word}": (side.probabilities.argmax(1) == side.labels) == right
           for word, right in (("yes", True), ("no", False))}
        | {f"group={code}": group == code for code in range(2)}
        for side, group in zip(softened, groups, strict=True)
    ]  # fmt: skip
    slices = {name: (masks[0][name], masks[1][name]) for name in masks[0]}
    rows = tfp_rows(*softened, "threshold", slices=slices)
    assert [row.get("slice") for row in rows] == [None, *slices]
    assert len(theirs) == len(rows)
    for row, result in zip(rows, theirs, strict=True):
        inside = slices.get(row.get("slice"), (np.ones(150, bool), np.ones(110, bool)))
        x, y = (-side.losses0[mask] for side, mask in zip(softened, inside, strict=True))
        assert row["auc"] == pytest.approx(result.get_auc(), abs=1e-9)
        assert (row["n_members"], row["n_nonmembers"]) == (len(x), len(y))
        fpr, tpr, thresholds = roc_curve(x, y)
        assert np.max(np.abs(tpr - fpr)) == pytest.approx(result.get_attacker_advantage(), abs=1e-9)
        ours = {round(t, 12): (a, b) for t, a, b in zip(thresholds, fpr, tpr, strict=True)}
        for t, a, b in zip(-result.roc_curve.thresholds, result.roc_curve.fpr, result.roc_curve.tpr, strict=True):
            assert ours[round(t, 12)] == pytest.approx((a, b), abs=1e-9)


def _softened(side, between):
    """Closer losses, so that curves cross and both sides are sometimes right."""
    own = np.exp(-(side.losses0**0.25) * np.random.default_rng(0).uniform(*between, len(side)))
    p = np.repeat(((1 - own) / 2)[:, None], 3, axis=1)
    p[np.arange(len(own)), side.labels] = own
    return Signals(side.ids, side.labels, -np.log(own), side.losses, p / p.sum(axis=1, keepdims=True))


def test_trained_attackers_run_anew_on_each_slice_with_enough_rows():
    members, nonmembers = memorised_signals(40, 2, seed=5)
    first, few = np.arange(40) < 20, np.arange(40) < 5
    rows = tfp_rows(members, nonmembers, "knn", slices={"half": (first, first), "few": (few, few)})
    assert [row.get("slice") for row in rows] == [None, "half"]
    alone = tfp_rows(members.take(first), nonmembers.take(first), "knn")[0]
    assert rows[1] == {**alone, "slice": "half"}
    assert rows[0]["p_value"] is None  # either half trained the attacker of the other


def test_roc_curve_has_the_auc_and_the_rates_of_every_threshold():
    generator = np.random.default_rng(0)
    x, y = generator.normal(0.4, 1, 60).round(1), generator.normal(0, 1, 45).round(1)
    fpr, tpr, thresholds = roc_curve(x, y)
    assert (fpr[0], tpr[0], thresholds[0], fpr[-1], tpr[-1]) == (0, 0, np.inf, 1, 1)
    assert np.trapz(tpr, fpr) == pytest.approx(auc(x, y).value)
    for a, b, threshold in zip(fpr, tpr, thresholds, strict=True):
        rate = success_rate(x, y, threshold)
        assert (1 - rate.tnr, rate.tpr) == pytest.approx((a, b), abs=1e-12)
