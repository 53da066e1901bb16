"""Candidates and their critics: who is kept, by hand and by a trained critic; their files; bad input."""

import dataclasses
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.diffusion.conftest import TINY, toy_records
from tfpdu.common import UserError
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data.records import AttributeSpec
from tfpdu.diffusion import GeneratorSettings, fit_generator, load_generator, load_pretrained
from tfpdu.diffusion.batches import Batches
from tfpdu.diffusion.critics import Critics, best_of
from tfpdu.purge import cards

WITH_CRITIC = dataclasses.replace(TINY, critics=("label",), critic_images=2048, candidates=4)
LABELS = np.arange(24, dtype=np.int32) % 2
ANY = np.full((24, 2), -1)
KEYS = [f"key{i}" for i in range(24)]


class Killed(BaseException):
    """Stands for a power cut."""


class Reads:
    """A critic to whom the one pixel of an image, v, says p = v / 255 of value 1."""

    def __init__(self, name="label"):
        self.spec = AttributeSpec(name, ("no", "yes"))

    def log_probabilities(self, z, sigma):
        p = (z.reshape(len(z)) + 1) / 2
        with np.errstate(divide="ignore"):
            return np.log(np.stack([1 - p, p], -1))


def drawing(*candidates):
    """A `draw` of rows that have these pixels as candidates 0, 1, ...; remembers what it was asked for."""
    asked = []

    def draw(rows, keys):
        asked.append(list(keys))
        candidate = [int(key.rpartition("candidate")[2]) if "/" in key else 0 for key in keys]
        pixels = [candidates[c][row] for c, row in zip(candidate, rows, strict=True)]
        return np.array(pixels, np.uint8).reshape(-1, 1, 1, 1)

    return draw, asked


LABEL = Critics([Reads()], ["label"])


def test_the_first_candidate_that_shows_it_is_kept_else_the_likeliest():
    """Rows: shown at once; at the second; never, candidate 1 likeliest; never, candidate 0 likeliest."""
    draw, asked = drawing([200, 90, 10, 120], [255, 130, 100, 60], [255, 255, 50, 100])
    images, drawn, unlike = best_of(draw, np.ones((4, 1), int), ["a", "b", "c", "d"], LABEL, 3)
    assert images.ravel().tolist() == [200, 130, 100, 120]
    assert (drawn, unlike) == (4 + 3 + 2, 2)
    assert asked == [
        ["a", "b", "c", "d"],
        ["b/candidate1", "c/candidate1", "d/candidate1"],
        ["c/candidate2", "d/candidate2"],
    ]


def test_one_candidate_is_kept_whatever_it_shows():
    draw, asked = drawing([200, 10])
    images, drawn, unlike = best_of(draw, np.ones((2, 1), int), ["a", "b"], LABEL, 1)
    assert images.ravel().tolist() == [200, 10]
    assert (drawn, unlike, len(asked)) == (2, 1, 1)


def test_where_any_value_will_do_no_critic_objects():
    shown, likelihood = LABEL.judge(np.full((3, 1, 1, 1), 200, np.uint8), np.array([[-1], [0], [1]]))
    assert shown.tolist() == [True, False, True]
    np.testing.assert_allclose(likelihood, [0, np.log(55 / 255), np.log(200 / 255)])


def test_several_critics_have_to_agree_and_their_logarithms_add_up():
    both = Critics([Reads("tone"), Reads("label")], ["label", "side", "tone"])
    asked = np.array([[1, 0, 1], [1, 0, 0], [-1, 0, 1], [0, 1, 0]])  # label, side, tone
    shown, likelihood = both.judge(np.full((4, 1, 1, 1), 204, np.uint8), asked)
    assert shown.tolist() == [True, False, True, False]
    np.testing.assert_allclose(likelihood, np.log([0.8 * 0.8, 0.8 * 0.2, 0.8, 0.2 * 0.2]))


@given(
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=8),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_what_is_kept_does_not_depend_on_companions(rows, candidates, random):
    labels = np.array([[random.choice([-1, 0, 1])] for _ in rows])
    draw, _ = drawing(*zip(*rows, strict=True))
    keys = [f"k{i}" for i in range(len(rows))]
    together, drawn, unlike = best_of(draw, labels, keys, LABEL, candidates)
    alone = [
        best_of(lambda _, ks, i=i: draw([i] * len(ks), ks), labels[i : i + 1], [keys[i]], LABEL, candidates)
        for i in range(len(rows))
    ]
    np.testing.assert_array_equal(together, np.concatenate([images for images, _, _ in alone]))
    assert drawn == sum(count for _, count, _ in alone)
    assert unlike == sum(count for _, _, count in alone)


@pytest.fixture(scope="module")
def critical(records, trained, tmp_path_factory):
    """(generator, its directory): the trained one, which has got a critic afterwards."""
    directory = shutil.copytree(trained[1], tmp_path_factory.mktemp("critical") / "it")
    return fit_generator(records, WITH_CRITIC, directory, seed=7), directory


def test_a_finished_generator_gets_a_critic_and_stays_what_it_was(trained, critical):
    generator, directory = critical
    assert generator.card["weights_sha256"] == trained[0].card["weights_sha256"]
    assert [critic.spec.name for critic in generator.critics] == ["label"]
    assert set(generator.critics[0].card["row_ids"]) == set(generator.row_ids)
    loaded = load_generator(directory)
    np.testing.assert_array_equal(loaded.sample(LABELS, ANY, KEYS), generator.sample(LABELS, ANY, KEYS))


def test_candidates_show_the_class_more_often_and_only_refused_samples_change(trained, critical):
    """A generator of 320 images hardly knows the classes; its critic of 2,048 does."""
    plain, chosen = trained[0].sample(LABELS, ANY, KEYS), load_generator(critical[1])
    images = chosen.sample(LABELS, ANY, KEYS)
    judge = Critics(chosen.critics, ["label", "tone", "side"]).judge
    asked = np.column_stack([LABELS, ANY])
    (before, _), (after, _) = judge(plain, asked), judge(images, asked)
    assert before.sum() + 4 <= after.sum()
    np.testing.assert_array_equal(images[before], plain[before])
    assert chosen.tally["kept_unlike"] == (~after).sum()
    assert len(KEYS) < chosen.tally["candidates"] <= 4 * len(KEYS)
    again = chosen.sample(LABELS[5:9], ANY[5:9], KEYS[5:9])
    np.testing.assert_array_equal(again, images[5:9])


def test_one_candidate_leaves_samples_and_id_as_they_were_without_critics(trained, critical, tmp_path):
    directory = shutil.copytree(critical[1], tmp_path / "copy")
    one = load_pretrained(str(directory), dataclasses.replace(TINY, candidates=1))
    assert one.id == trained[0].id != critical[0].id
    np.testing.assert_array_equal(one.sample(LABELS, ANY, KEYS), trained[0].sample(LABELS, ANY, KEYS))
    assert not one.tally
    two = load_pretrained(str(directory), dataclasses.replace(WITH_CRITIC, candidates=2, critics=("tone",)))
    assert two.settings.critics == ("label",)  # its own
    assert two.id not in (one.id, critical[0].id)


def test_a_run_knows_the_cards_of_critics_too(critical, tmp_path):
    """So that rows which are erased leave them, and the verification reads them."""
    run = RunDirectory(tmp_path, {})
    shutil.copytree(critical[1], run.file("generator"))
    assert [path.name for path in cards(run)] == ["classifier.json", "generator.json"]


@pytest.mark.slow
def test_trained_together_and_killed_in_the_critic_they_are_the_same(critical, tmp_path, monkeypatch):
    whole, calls = Batches.at, iter(range(10**6))

    def until(self, step):
        if next(calls) == 60:  # 20 steps of the generator, then 40 of the critic's 128
            raise Killed
        return whole(self, step)

    monkeypatch.setattr(Batches, "at", until)
    with pytest.raises(Killed):
        fit_generator(toy_records(), WITH_CRITIC, tmp_path, seed=7)
    assert not (tmp_path / "generator.json").exists()
    assert (tmp_path / "critics" / "label" / "checkpoint.npz").exists()
    generator = fit_generator(toy_records(), WITH_CRITIC, tmp_path, seed=7)
    assert generator.critics[0].card["weights_sha256"] == critical[0].critics[0].card["weights_sha256"]
    assert generator.card["weights_sha256"] == critical[0].card["weights_sha256"]
    assert generator.id == critical[0].id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"candidates": 0}, "candidates"),
        ({"critic_images": 0, "critics": ("label",)}, "critic_images"),
        ({"candidates": 2}, "candidates: 2 need a critic that chooses"),
        ({"critics": ("label",), "private": {"epsilon": 1.0}}, "critics: they learn the rows without noise"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        GeneratorSettings(**changes)


def test_bad_input_is_named(records, trained, critical, tmp_path):
    with pytest.raises(UserError, match=r"it has no critic to choose among config.generator.candidates=4; expected 1"):
        load_pretrained(str(trained[1]), WITH_CRITIC)
    with pytest.raises(UserError, match="hue"):
        fit_generator(records, dataclasses.replace(WITH_CRITIC, critics=("hue",)), tmp_path / "hue", seed=7)
    deep = dataclasses.replace(WITH_CRITIC, critic_widths=(8,) * 5)
    with pytest.raises(UserError, match="must be multiples of"):
        fit_generator(records, deep, tmp_path / "deep", seed=7)
    assert not (tmp_path / "deep").exists()  # it is refused before hours of training
    damaged = shutil.copytree(critical[1], tmp_path / "damaged")
    (damaged / "critics" / "label" / "classifier.json").unlink()
    with pytest.raises(UserError, match=r"classifier.json"):
        load_generator(damaged)
    with pytest.raises(UserError, match=r"holds another classifier .*images was 2048, now 5000"):
        fit_generator(records, dataclasses.replace(WITH_CRITIC, critic_images=5000), critical[1], seed=7)
