"""Experiments as data: the declared ones are runs that can be, and plans of one's own are read or refused."""

import json

import pytest

from tfpdu.cli.app import load_preset
from tfpdu.common import UserError
from tfpdu.experiments import KNOWN, Contrast, Experiment, Variant, chosen
from tfpdu.experiments.campaign import Changes, cells_of
from tfpdu.settings import Settings


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return cells_of(chosen(["all"], KNOWN), tmp_path_factory.mktemp("root"), load_preset, Changes())


def test_every_declared_run_and_its_twin_is_a_valid_configuration(cells, tmp_path):
    twins = cells_of(chosen(["all"], KNOWN), tmp_path, load_preset, Changes(gpu=True, seeds=(0,)))
    for cell in [*cells, *twins]:
        Settings.from_config(cell.config)
    small = {cell.variant.name: cell.config for cell in cells if cell.seed == 0}
    for twin in twins:
        grown = twin.config["generator"]["images"] > small[twin.variant.name]["generator"]["images"]
        assert grown == (not twin.variant.config.startswith("digits")), twin.name
        assert twin.workdir.parent.parent.name == "gpu"


def test_every_figure_and_table_has_its_experiment():
    names = set(KNOWN)
    assert {"figure5", "figures6to9", "figures10and11", "table1", "figure12", "figure12_celeb_a"} <= names
    assert {"naive", "lineage", "prior", "shards", "transfer"} <= names


def test_variants_differ_and_shared_ones_are_one_run(cells):
    assert len({repr(cell.config) for cell in cells}) == len(cells)
    assert len({cell.workdir for cell in cells}) == len(cells)
    assert sum(cell.variant.name == "cifar10" for cell in cells) == 3  # Table I, Figure 12, and ours: three seeds


def test_contrasts_are_between_variants_of_their_experiment():
    for experiment in chosen(["all"], KNOWN):
        names = {variant.name for variant in experiment.variants}
        assert all({contrast.first, contrast.second} <= names for contrast in experiment.contrasts)
        assert experiment.measures


def test_the_naive_combination_augments_once_and_replenishes_nothing(cells):
    naive, loop = (
        next(c.config for c in cells if c.name == f"{name}, seed 0") for name in ("cifar10_naive", "cifar10")
    )
    assert naive["augment"].pop("replenish") is False
    assert loop["augment"].pop("replenish") is True
    assert naive == loop


def test_a_users_weights_and_generator_go_where_they_belong(tmp_path):
    changes = Changes(initial="mine.weights.h5", generator="generators/cifar10")
    found = {c.name: c for c in cells_of(chosen(["table1", "lineage"], KNOWN), tmp_path, load_preset, changes)}
    assert found["cifar10, seed 0"].config["ensemble"]["initial"] == ""
    assert found["cifar10, seed 0"].config["generator"]["pretrained"] == "generators/cifar10"
    transfer = found["cifar10_transfer, seed 1"]
    assert transfer.config["ensemble"]["initial"] == "mine.weights.h5"
    assert "--config.ensemble.initial=mine.weights.h5" in transfer.words
    assert transfer.words[:3] == ["run", "--config=cifar10:transfer", "--config.seed=1"]
    assert found["digits_keep, seed 0"].config["generator"]["pretrained"] == ""


def write(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_a_plan_of_ones_own_is_read(tmp_path):
    variant = {"name": "even", "config": "digits", "overrides": {"draw.shares": [0.5, 0.5], "loop.until": 0}}
    contrast = {"measure": "added", "first": "even", "second": "even", "words": "nothing"}
    entry = {
        "name": "mine", "title": "Mine", "question": "Why?", "variants": [variant], "seeds": [4],
        "measures": [["added", "rows added", "rows"]], "contrasts": [contrast],
    }  # fmt: skip
    (found,) = chosen([write(tmp_path, [entry])], KNOWN)
    expected = Variant("even", "digits", (("draw.shares", (0.5, 0.5)), ("loop.until", 0)))
    assert found == Experiment(
        "mine",
        "Mine",
        "Why?",
        (expected,),
        (4,),
        (("added", "rows added", "rows"),),
        (Contrast("added", "even", "even", "nothing"),),
    )
    (cell,) = cells_of([found], tmp_path, load_preset, Changes())
    assert cell.config["draw"]["shares"] == (0.5, 0.5)
    assert "--config.draw.shares=(0.5, 0.5)" in cell.words


@pytest.mark.parametrize(
    ("content", "words"),
    [("no json", "not valid JSON"), ([{"name": "x"}], "expected a JSON list of experiments"), ({}, None)],
)
def test_a_file_that_is_no_plan_is_refused_in_one_line(tmp_path, content, words):
    if words is None:
        assert chosen([write(tmp_path, content)], KNOWN) == ()
        return
    with pytest.raises(UserError, match=words) as caught:
        chosen([write(tmp_path, content)], KNOWN)
    assert "\n" not in str(caught.value)


def test_names_and_overrides_that_there_are_not_are_named(tmp_path):
    with pytest.raises(UserError, match="no such experiment, did you mean 'table1'"):
        chosen(["tabel1"], KNOWN)
    wrong = Experiment("x", "X", "?", (Variant("a", "digits", (("loop.untill", 0),)),))
    with pytest.raises(UserError, match=r"variant a: loop\.untill=0"):
        cells_of([wrong], tmp_path, load_preset, Changes())
    with pytest.raises(UserError, match="unknown variant"):
        cells_of([Experiment("x", "X", "?", (Variant("a", "cifar10:tpu"),))], tmp_path, load_preset, Changes())


def test_two_variants_of_one_name_are_refused(tmp_path):
    variants = [{"name": "a", "config": "digits"}, {"name": "a", "config": "digits", "overrides": {"loop.until": 0}}]
    entry = {"name": "mine", "title": "", "question": "", "variants": variants}
    with pytest.raises(UserError, match="two different variants are named 'a'"):
        chosen([write(tmp_path, [entry])], KNOWN)


def test_a_name_that_is_a_directory_beside_the_experiments_is_refused(tmp_path):
    entry = {"name": "runs", "title": "", "question": "", "variants": [{"name": "a", "config": "digits"}]}
    with pytest.raises(UserError, match="may not be named 'runs'"):
        chosen([write(tmp_path, [entry])], KNOWN)
