"""The audit of a run: shards as reference models in the loop and afterwards, and what is left where there is one."""

import dataclasses

import numpy as np
import pytest

from tests.loop_config import tiny_config
from tfpdu.audit import AuditSettings, Extras, coin_flips
from tfpdu.common import UserError, files
from tfpdu.common.run_directory import RunDirectory
from tfpdu.loop import run_pdu
from tfpdu.material import cut, gather
from tfpdu.run_audit import one_run_of, shard_extras, subject_of_run, within_reach
from tfpdu.settings import Settings
from tfpdu.state import State
from tfpdu.steps import Step

ATTACKS = ("m_loss", "lira_offline", "rmia_offline")
CONFIG = {"augment__method": "oversample", "draw__rows": 90, "ensemble__width": 4, "audit__attacks": ATTACKS}
CONFIG |= {"audit__canaries": 80}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    run_pdu(tiny_config(**CONFIG), directory)
    run = RunDirectory.existing(directory)
    return run, Settings.from_config(run.config)


def test_a_run_takes_its_shards_as_references(done):
    rows = files.read_json(done[0].file("audit.json"))
    assert {row["attack"] for row in rows} == set(ATTACKS)
    assert all(0 <= row["p_holm"] <= 1 for row in rows)


def test_the_last_ensemble_is_audited_as_the_loop_audited_it(done):
    from tfpdu.audit import audit_rows

    run, settings = done
    last = len(run.events("iteration")) - 1
    subject = subject_of_run(settings, run)
    audit = settings.full_audit if last in (0, 1, 2) else settings.audit
    outcomes, _ = subject.attack(audit, note=lambda line: None)
    again = audit_rows(outcomes, audit, last)
    there = [row for row in files.read_json(run.file("audit.json")) if row["iteration"] == last]
    assert files.plain(again) == there


def test_an_audit_changes_nothing_in_the_run_and_says_what_is_not_there(done):
    run, settings = done
    before = {path: files.file_hash(path) for path in run.path.rglob("*") if path.is_file() and path.name != ".lock"}
    subject_of_run(settings, run)
    with pytest.raises(UserError, match="weights of step 0000 are not there"):
        subject_of_run(settings, run, 0)
    with pytest.raises(UserError, match="--iteration=9: the last one that is done is"):
        subject_of_run(settings, run, 9)
    after = {path: files.file_hash(path) for path in run.path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before


def test_a_directory_without_an_iteration_has_no_model(tmp_path):
    run = RunDirectory(tmp_path / "new", tiny_config(**CONFIG))
    with pytest.raises(UserError, match="no iteration is done"):
        subject_of_run(Settings.from_config(run.config), run)


class Shards:
    """An ensemble whose model s answers 1 / (s + 2) for class 0."""

    def __init__(self, models):
        self.models = models

    def __len__(self):
        return self.models

    def shard_probabilities(self, images):
        p = 1 / (np.arange(self.models) + 2.0)
        classes = np.stack([p, 1 - p], 1)  # [k, 2]
        return np.repeat(classes[:, None], len(images), 1)


def test_every_row_has_one_model_fewer_than_there_are_whether_its_shard_has_one_or_not(done):
    run, settings = done
    material = State.open(settings, run).material
    drawn = dataclasses.replace(material.drawn, labels=np.zeros(len(material.drawn), np.int32))
    shard = np.arange(len(drawn)) % 4
    material = dataclasses.replace(material, drawn=drawn, shard=shard)
    learned = np.array([0, 2, 3, 3, 2])  # shard 1 holds no rows any more
    extras = shard_extras(Shards(3), learned, material, seed=1)
    table = extras.references(drawn)
    assert (np.isnan(table.probabilities).sum(axis=1) == 1).all()
    for s, model in ((0, 0), (2, 1), (3, 2)):
        assert np.isnan(table.probabilities[shard == s, model]).all()
    outside = np.isnan(table.probabilities[shard == 1]).argmax(axis=1)
    assert len(set(outside.tolist())) == 3  # by a hash of the id


def test_with_one_model_reference_attacks_are_left_out(done):
    run, settings = done
    material = State.open(settings, run).material
    extras = shard_extras(Shards(1), np.zeros(3, int), material, seed=1)
    assert extras == Extras()
    assert within_reach(AuditSettings(attacks=ATTACKS), extras).attacks == ("m_loss",)
    there = shard_extras(Shards(2), np.array([0, 1]), material, seed=1)
    assert within_reach(AuditSettings(attacks=ATTACKS), there).attacks == ATTACKS


def test_the_last_step_is_the_one_that_is_named(done):
    run, settings = done
    last = Step(len(run.events("iteration")) - 1)
    subject = subject_of_run(settings, run)
    assert subject.title.endswith(f"step {last.name}")
    assert subject.iteration == last.iteration


def test_a_fair_coin_puts_each_canary_into_s_or_leaves_it_out_for_good(done):
    run, settings = done
    record = files.read_json(run.file("pools.json"))
    canaries, drawn = record["canaries"], set(record["draw"])
    heads = coin_flips(canaries, settings.seed)
    assert len(canaries) == 80
    assert [row_id in drawn for row_id in canaries] == heads.tolist()
    assert len(drawn) == 90 + heads.sum()
    assert set(canaries) <= set(record["pools"]["private"])
    assert [event["iteration"] for event in run.events("one_run")] == [e["iteration"] for e in run.events("iteration")]
    assert 'id="one-run"' in run.file("report.html").read_text()


class _Knows:
    """An ensemble that is sure of the class of some rows, and guesses others."""

    def __init__(self, records, ids):
        self.sure = {
            image.tobytes(): label
            for image, label, i in zip(records.images, records.labels, records.ids, strict=True)
            if i in ids
        }

    def probabilities(self, images):
        out = np.full((len(images), 10), 0.1)
        for row, image in enumerate(images):
            if image.tobytes() in self.sure:
                out[row] = 0.01
                out[row, self.sure[image.tobytes()]] = 0.91
        return out


def test_the_bound_is_high_where_the_rows_are_known_and_zero_where_none_is(done):
    run, settings = done
    material = State.open(settings, run).material
    leaky = one_run_of(_Knows(material.canaries, set(material.drawn.ids)), material, frozenset(), settings.seed)
    assert leaky["epsilon"] > 0.9  # of some 40 guesses no more can be said
    assert leaky["v"] > 0.8 * leaky["r"]
    blind = one_run_of(_Knows(material.canaries, set()), material, frozenset(), settings.seed)
    assert blind["epsilon"] == 0.0
    few = frozenset(material.canaries.ids[:70].tolist())
    assert one_run_of(_Knows(material.canaries, set()), material, few, settings.seed) is None


def test_a_person_is_never_a_canary_beside_rows_of_their_own():
    settings = Settings.from_config(tiny_config(**{**CONFIG, "audit__canaries": 40}))
    plain = gather(settings)
    records = plain.held()
    people = np.array([f"p{int(i) // 2}" for i in np.argsort(np.argsort(records.ids))])
    material = cut(dataclasses.replace(records, subjects=people), settings)
    canaries, drawn = material.canaries, material.drawn
    assert len(set(canaries.subjects)) == len(canaries) == 40
    others = drawn.without(canaries.ids.tolist())
    assert not set(canaries.subjects) & set(others.subjects)


@pytest.mark.parametrize(
    ("canaries", "words"), [(7, "0 or at least 20"), (-1, "at least 0"), (5000, "the private pool has")]
)
def test_canaries_that_cannot_be_are_refused(canaries, words):
    with pytest.raises(UserError, match=words):
        gather(Settings.from_config(tiny_config(**{**CONFIG, "audit__canaries": canaries})))
