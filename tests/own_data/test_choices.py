"""Sizes by the data: when a generator is worth its hour, what is balanced, and configs that hold for each size."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.data import AttributeSpec, Records
from tfpdu.data.attributes import Column
from tfpdu.data.image_folder import Table
from tfpdu.material import cut
from tfpdu.own_data.choices import choose
from tfpdu.own_data.config_file import config_text
from tfpdu.own_data.inspection import Findings
from tfpdu.own_data.project import _loaded
from tfpdu.own_data.request import Columns, Request
from tfpdu.settings import Settings


def findings(counts, side=4):
    """Rows by cell of (label, gender): {(0, 1): 40, ...}; the pictures are black."""
    codes = np.repeat(np.array(list(counts), np.int64), list(counts.values()), axis=0)
    codes = codes[np.random.default_rng(0).permutation(len(codes))]
    n = len(codes)
    records = Records(
        images=np.zeros((n, side, side, 3), np.uint8),
        labels=codes[:, 0].astype(np.int32),
        attributes=codes[:, 1:].astype(np.int8),
        ids=np.array([f"image_folder/{k}.png" for k in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(AttributeSpec("gender", ("f", "m", "x", "y", "z")[: codes[:, 1].max() + 1]),),
        label_names=("no", "yes"),
    )
    sheet = Table(Path("people.csv"), ("file", "smiling", "gender"), [], [], {})
    return Findings(sheet, Columns(Column("smiling"), (Column("gender"),), ""), records, (), (), side, n)


def cells(a, b, c, d):
    return {(0, 0): a, (1, 0): b, (0, 1): c, (1, 1): d}


FIVE = cells(300, 300, 10, 10) | {(k % 2, 2 + k // 2): 10 for k in range(6)}  # groups, one of them large


def test_a_generator_wants_a_thousand_rows_to_learn_from():
    assert choose(findings(cells(900, 800, 400, 400))).method == "diffusion"  # learned is 0.4 of 2,500
    few = choose(findings(cells(800, 700, 400, 300)))  # 0.45 of 2,200
    assert (few.method, few.reason) == ("oversample", "990 rows to learn from, a generator wants 1000")


def test_a_generator_wants_twenty_rows_in_each_cell():
    choices = choose(findings(cells(2000, 1000, 500, 40)))
    assert choices.method == "oversample"
    assert "(yes, m) has 17 rows to learn from, a generator wants 20 a cell" in choices.reason


def test_where_copies_would_swamp_the_table_rows_are_weighed():
    choices = choose(findings(FIVE))
    assert choices.method == "reweigh"  # five groups, as large as the first of about 300
    assert "copies would be more than 2 times the rows" in choices.reason
    assert choices.additions == 0


def test_additions_are_those_of_algorithm_1_on_the_rows_to_learn_from():
    choices = choose(findings(cells(200, 200, 100, 100)))
    assert (choices.rows, choices.rho) == (270, 1e-6)
    f = sum(in_s for cell, (_, in_s) in choices.cells.items() if cell[1] == "f")
    assert choices.additions == 2 * f - 270  # two values, the larger one as it is


def test_small_sets_get_more_epochs_and_large_ones_are_cut_to_five_thousand():
    assert choose(findings(cells(100, 100, 80, 80))).epochs == 40
    large = choose(findings(cells(9000, 8000, 4000, 4000)))
    assert (large.epochs, large.rows, large.audit_rows) == (15, 5000, 500)


def test_one_group_with_a_few_others_is_nothing_to_balance():
    with pytest.raises(UserError, match=r"--sensitive=gender: .*fewer than two values have 5 or more \(f: 89, m: 1\)"):
        choose(findings({(0, 0): 100, (1, 0): 100, (1, 1): 1}))


@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("counts", [cells(900, 800, 400, 400), cells(60, 50, 40, 30), FIVE])
def test_the_config_holds_for_every_size_and_method(tmp_path, counts, side):
    found = findings(counts, side)
    choices = choose(found)
    request = Request(tmp_path, "people.csv", "smiling", ("gender",))
    text = config_text(request, found, choices, tmp_path / 'mine "quoted" \\ name')
    settings = Settings.from_config(_loaded(text))
    material = cut(found.records, settings)
    assert len(material.drawn) == choices.rows
    assert settings.augment.method == choices.method
    settings.generator.architecture(found.records.images.shape[1:], 2, (found.records.specs[0].cardinality,))
    assert not [line for line in text.splitlines() if len(line) > 120 and str(tmp_path) not in line]


def test_rows_with_an_unknown_group_are_in_no_cell():
    found = findings(cells(100, 100, 80, 80))
    attributes = found.records.attributes.copy()
    attributes[:30] = -1
    choices = choose(dataclasses.replace(found, records=dataclasses.replace(found.records, attributes=attributes)))
    assert sum(total for total, _ in choices.cells.values()) == 330
