"""`tfpdu init`: what is found in a messy folder, what is written, and what is refused in one line."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.commands import command
from tests.own_data.messy import write_messy, write_table
from tfpdu.common import UserError
from tfpdu.data import load
from tfpdu.own_data import Request
from tfpdu.own_data.project import make_project
from tfpdu.settings import Settings


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def config_of(path):
    scope = {}
    exec(path.read_text(encoding="utf-8"), scope)
    return scope["get_config"]().to_dict()


def request(folder, table="", **changes):
    wanted = {"label": "smiling", "sensitive": ("gender", "age:50")} | changes
    return Request(Path(folder), str(table), **wanted)


@pytest.fixture(scope="module")
def made(messy, tmp_path_factory):
    folder, table, _ = messy
    return make_project(tmp_path_factory.mktemp("made") / "mine", request(folder, table))


def test_each_fault_is_listed_with_file_row_and_reason_and_nothing_else(messy, made):
    found = {(p["file"], int(p["row"] or 0)): p["reason"] for p in read(made.home / "problems.csv")}
    assert set(found) == set(messy[2])
    for key, words in messy[2].items():
        assert words in found[key]


def test_what_is_at_fault_is_left_out_and_what_is_unknown_is_kept(messy, made):
    outcomes = {p["file"]: p["outcome"] for p in read(made.home / "problems.csv")}
    used = {row["file"] for row in read(made.home / "table.csv")}
    for file, outcome in outcomes.items():
        if file != "0002.jpg":  # listed twice: its first row is in use
            assert (file in used) == outcome.startswith("kept"), file
    assert len(used) == 243 - 7
    assert outcomes["0011.jpg"] == "kept, in no group of age"


def test_pictures_that_the_camera_turned_and_names_with_umlauts_are_no_fault(made):
    problems = {p["file"] for p in read(made.home / "problems.csv")}
    used = {row["file"] for row in read(made.home / "table.csv")}
    assert {"0005.jpg", "Größe & älter/bär 3.jpg"} <= used - problems


def test_the_config_loads_the_very_rows_that_were_inspected(made, tmp_path):
    data = dict(config_of(made.config)["data"])
    again = load(data.pop("name"), problems=tmp_path / "problems.csv", **data)
    there = made.findings.records
    assert again.ids.tolist() == there.ids.tolist()
    assert again.specs == there.specs
    assert np.array_equal(again.attributes, there.attributes)
    assert np.array_equal(again.images, there.images)
    assert not (tmp_path / "problems.csv").exists()
    Settings.from_config(config_of(made.config))


def test_near_copies_are_kept_together_where_no_person_is_named(made):
    group = {row["file"]: row["kept_together"] for row in read(made.home / "table.csv")}
    assert group["mirrored 1.jpg"] == group["0001.jpg"] == "0001.jpg"
    assert sum(bool(name) for name in group.values()) == 2
    assert config_of(made.config)["data"]["subject"] == "kept_together"
    kinds = {(d["file"], d["other"]): (d["kind"], d["mirrored"]) for d in read(made.home / "duplicates.csv")}
    assert kinds == {("0000.jpg", "copy of 0.jpg"): ("same", "no"), ("0001.jpg", "mirrored 1.jpg"): ("near", "yes")}


def test_a_named_person_keeps_her_column_and_copies_of_others_are_told(messy, tmp_path):
    folder, table, _ = messy
    rows = list(csv.reader(table.open(encoding="utf-8")))[1:]
    next(row for row in rows if row[0] == "mirrored 1.jpg")[4] = "somebody else"
    next(row for row in rows if row[0] == "copy of 0.jpg")[1] = "yes"  # the first says no
    other = write_table(tmp_path / "people.csv", rows, delimiter=";")
    (tmp_path / "mine").mkdir()  # an empty folder is welcome
    made = make_project(tmp_path / "mine", request(folder, other, subject="person"))
    reasons = {p["file"]: p["reason"] for p in read(made.home / "problems.csv")}
    assert reasons["mirrored 1.jpg"].endswith("row 3, but not the same person")
    assert reasons["copy of 0.jpg"].endswith("row 2, but not the same smiling")
    assert config_of(made.config)["data"]["subject"] == "person"
    outcomes = {p["file"]: p["outcome"] for p in read(made.home / "problems.csv")}
    assert outcomes["mirrored 1.jpg"] == "kept, and may be in another pool"


def test_cells_are_counted_over_all_usable_rows_and_over_those_that_are_learned(made):
    rows = read(made.home / "table.csv")
    cells = {(c["smiling"], c["gender"], c["age"]): int(c["rows"]) for c in read(made.home / "cells.csv")}
    known = [r for r in rows if r["gender"] in ("male", "female") and r["age"].isdigit()]
    old = {True: ">=50", False: "<50"}
    for cell, count in cells.items():
        assert count == sum((r["smiling"], r["gender"], old[int(r["age"]) >= 50]) == cell for r in known)
    assert sum(cells.values()) == len(known) == len(rows) - 3
    assert made.choices.rows == config_of(made.config)["draw"]["rows"] == pytest.approx(0.45 * len(rows), abs=1)


def test_too_few_pictures_for_a_generator_are_said_with_the_plain_method(made):
    assert config_of(made.config)["augment"]["method"] == "oversample"
    said = "\n".join(made.as_lines())
    assert "too few for a generator: 106 rows to learn from, a generator wants 1000" in said
    assert "106 rows to learn from" in made.config.read_text(encoding="utf-8")
    for words in ("tfpdu bias", "tfpdu run"):
        assert f"{words} --config={made.config}" in said


def test_a_value_of_a_few_rows_keeps_its_share(messy, tmp_path):
    folder, table, _ = messy
    rows = list(csv.reader(table.open(encoding="utf-8")))[1:]
    for row in rows[30:40]:
        row[2] = "diverse"
    made = make_project(tmp_path / "mine", request(folder, write_table(tmp_path / "t.csv", rows)))
    prior = config_of(made.config)["prior"]
    assert prior["over"] == (("gender",), ("age",))  # the joint would have nearly empty cells
    shares = dict(zip(made.findings.records.specs[0].values, prior["given"][0], strict=True))
    assert shares["female"] == shares["male"] == pytest.approx((1 - shares["diverse"]) / 2)
    assert 0 < shares["diverse"] < 0.1
    assert "gender=diverse" in "\n".join(made.as_lines())


# ---- what is refused ---------------------------------------------------------------------------

FILES = ["0.png", "1.png", "2.png", "3.png"]
TWO = ["a", "b", "a", "b"]


def refused(tmp_path, pattern, *arguments, **changes):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=pattern) as error:
        make_project(tmp_path / "mine", request(*arguments, **changes))
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
    return str(error.value)


@pytest.mark.parametrize(
    ("columns", "changes", "pattern"),
    [
        ({"filename": FILES, "smiling": TWO}, {}, "no column 'file'.*did you mean 'filename'"),
        ({"file": FILES, "smilling": TWO, "gender": TWO}, {}, "--label=smiling: .*did you mean 'smilling'"),
        ({"file": FILES, "smiling": TWO, "sex": TWO}, {}, "--sensitive=gender: .*its columns are file, smiling, sex"),
        ({"file": FILES, "smiling": TWO, "gender": TWO}, {"subject": "person"}, "--subject=person: .*no such column"),
        ({"file": FILES, "smiling": list("aaaa"), "gender": TWO}, {}, "--label=smiling: all 4 known rows are 'a'"),
        ({"file": FILES, "smiling": TWO, "gender": list("aa??")}, {}, "--sensitive=gender: all 2 known rows are 'a'"),
        ({"file": FILES, "smiling": TWO, "gender": TWO}, {"sensitive": ("gender", "gender")}, "asked for twice"),
        ({"file": FILES, "smiling": TWO, "gender": TWO}, {"sensitive": ("gender:3,1",)}, "rising edges"),
        ({"file": FILES, "smiling": TWO, "gender": TWO}, {"sensitive": ("gender:3",)}, "row 2 of .* holds 'a'"),
        ({"file": ["x.png", *FILES[1:]][:1] * 4, "smiling": TWO, "gender": TWO}, {}, "row 2 names 'x.png', and no pic"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_one_line_and_nothing_is_written(
    few, tmp_path, columns, changes, pattern
):
    folder, table = few
    refused(tmp_path, pattern, folder, table(**columns), **({"sensitive": ("gender",)} | changes))


def test_a_quantity_without_bins_gets_a_flag_to_paste(few, tmp_path):
    folder, table = few
    n = 500
    path = table(file=["0.png"] * n, smiling=TWO * (n // 4), gender=TWO * (n // 4), age=[k / 10 for k in range(n)])
    wanted = {"sensitive": ("gender", "age")}
    said = refused(tmp_path, "--sensitive=age: 500 different numbers; state bins", folder, path, **wanted)
    assert "--sensitive=gender,age:16.6,33.3 " in said
    assert said.endswith("--sensitive=gender,age:q3")


def test_five_hundred_texts_are_no_groups(few, tmp_path):
    folder, table = few
    path = table(file=["0.png"] * 500, smiling=TWO * 125, city=[f"town {k}" for k in range(500)])
    refused(tmp_path, "--sensitive=city: 500 different values in 500 rows", folder, path, sensitive=("city",))


def test_a_folder_without_pictures_and_a_table_that_is_none_are_refused(few, tmp_path):
    folder, table = few
    empty = tmp_path / "empty"
    empty.mkdir()
    path = table(file=FILES, smiling=TWO, gender=TWO)
    refused(tmp_path, "--images=.*holds no pictures", empty, path)
    refused(tmp_path, "not a readable UTF-8 table", folder, folder / "0.png")
    refused(tmp_path, "--table=.*nowhere.csv: no such file", folder, tmp_path / "nowhere.csv")
    refused(tmp_path, "expected exactly one .csv", folder)
    (folder / "people.csv").write_text("file,smiling,gender\n", encoding="utf-8")
    refused(tmp_path, "has a header and no rows", folder)


def test_a_folder_that_holds_something_is_never_written_to(few, tmp_path):
    folder, table = few
    path = table(file=FILES, smiling=TWO, gender=TWO)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    refused(tmp_path, "holds something already", folder, path, sensitive=("gender",))


def test_too_few_rows_to_cut_are_refused(few, tmp_path):
    folder, table = few
    refused(
        tmp_path,
        "fewer than two values have 5 or more",
        folder,
        table(file=FILES, smiling=TWO, gender=TWO),
        sensitive=("gender",),
    )


# ---- the command -------------------------------------------------------------------------------


def tfpdu(*words, cwd):
    return command("tfpdu", *words, cwd=cwd, timeout=560)


def test_the_command_makes_a_folder_whose_config_the_other_commands_take(messy, tmp_path):
    folder, table, _ = messy
    flags = [f"--images={folder}", f"--table={table}", "--label=smiling", "--sensitive=gender,age:50"]
    result = tfpdu("init", "mine", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "  tfpdu run --config=mine/config.py --dry_run" in result.stdout
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "config.py", "table.csv", "problems.csv", "duplicates.csv", "cells.csv",
    }  # fmt: skip
    result = tfpdu("bias", "--config=mine/config.py", "--workdir=mine/bias", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "gender x age" in result.stdout
    nothing = tfpdu("init", cwd=tmp_path)
    assert nothing.returncode == 2
    assert "expected the folder to make" in nothing.stderr


@pytest.mark.slow
def test_six_hundred_real_pictures_go_from_init_to_a_report(tfds_directory, tmp_path):
    faces = load("celeb_a", directory=tfds_directory, image_size=64, attributes=("Young", "Male"), target="Smiling")
    faces = faces.take(np.random.default_rng(0).permutation(len(faces))[:600])
    young, male = faces.column("Young") == 1, faces.column("Male") == 1
    age = np.random.default_rng(1).integers(18, 40, 600) + np.where(young, 0, 25)
    rows = [
        ["yes" if smiles else "no", "male" if m else "female", str(a), person]
        for smiles, m, a, person in zip(faces.labels, male, age, faces.subjects, strict=True)
    ]
    _, _, expected = write_messy(tmp_path, faces.images[:], rows)
    words = [
        "--images=photos",
        "--table=people.csv",
        "--label=smiling",
        "--sensitive=gender,age:40",
        "--subject=person",
    ]
    result = tfpdu("init", "mine", *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = {(p["file"], int(p["row"] or 0)): p["reason"] for p in read(tmp_path / "mine" / "problems.csv")}
    assert set(found) == set(expected)
    assert all(words in found[key] for key, words in expected.items())
    config = "--config=mine/config.py"
    result = tfpdu("bias", config, "--workdir=mine/bias", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    result = tfpdu("run", config, "--dry_run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "in all" in result.stdout
    tiny = ["--config.ensemble.epochs=2", "--config.ensemble.width=16", "--config.loop.iterations=5"]
    result = tfpdu("run", config, "--workdir=mine/run", *tiny, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "mine" / "run" / "report.html").read_text(encoding="utf-8")
    assert "gender" in page
    assert not (tmp_path / "mine" / "run" / "problems.csv").exists()  # what init left out is not met again
