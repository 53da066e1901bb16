"""`scripts/fairness.py`: predictions of any framework in a CSV; table, JSON, page, gate; bad input in one line."""

import json

import numpy as np
import pytest

from tests.commands import command
from tfpdu.audit.prediction_file import (
    PredictionColumns,
    cautions,
    join_predictions,
    read_predictions,
    split_names,
)
from tfpdu.common import UserError


def fairness(*arguments):
    return command("scripts/fairness.py", *arguments)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """400 people, two rows each: women are predicted better than men; some ages and genders are missing."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("tables") / "my model, größer.csv"
    lines = ["person;label;prediction;p;gender;age"]
    for person in range(400):
        gender, age = rng.integers(2), rng.integers(18, 80)
        for _ in range(2):
            label = rng.integers(2)
            answer = label if rng.random() < (0.95, 0.7)[gender] else 1 - label
            texts = ("unhappy", "smiling")[label], ("unhappy", "smiling")[answer]
            known = "" if person % 20 == 0 else ("female", "male")[gender]
            score = 0.5 + 0.4 * (2 * answer - 1)
            lines.append(f"{person};{texts[0]};{texts[1]};{score};{known};{age if person % 9 else '?'}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


@pytest.fixture(scope="module")
def done(table, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "fairness.json"
    words = ["--sensitive=gender,age:30,60", "--score=p", "--subject=person", "--positive=smiling"]
    gates = ["--fail_if=gender.equalized_odds.ci_low>0.1", "--fail_if=average_accuracy.value<0.5"]
    return output, fairness(f"--predictions={table}", *words, f"--output={output}", *gates)


def test_a_fired_gate_ends_with_3_and_one_line_after_everything_is_written(done):
    output, result = done
    assert result.returncode == 3, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "gender.equalized_odds.ci_low is 0." in result.stderr
    assert "average_accuracy" not in result.stderr
    assert output.exists()
    assert result.stdout.splitlines()[-2:] == [str(output), str(output.with_suffix(".html"))]


def test_the_table_and_the_json_say_the_same(done):
    output, result = done
    rows = json.loads(output.read_text())
    (odds,) = [r for r in rows if (r["attribute"], r["metric"]) == ("gender", "equalized_odds")]
    line = next(line for line in result.stdout.splitlines() if "equalized odds" in line)
    assert f"{100 * odds['value']:.1f} (" in line
    assert result.stdout.startswith("positive class: smiling")
    assert "gender (40 rows of unknown value left out)" in result.stdout
    assert {"<30", "30-60", ">=60"} <= {r["group"] for r in rows if r["attribute"] == "age"}
    assert "female, 30-60" in result.stdout


def test_the_page_stands_alone_and_says_what_balancing_does_not_do(done):
    text = done[0].with_suffix(".html").read_text(encoding="utf-8")
    assert "my model, größer.csv" in text
    assert "guarantees none of these measures" in text
    assert text.count("<svg") == 3
    assert "http" not in text


def test_help_states_the_exit_codes():
    result = fairness("--help")
    assert result.returncode == 0
    assert "3 a gate fired" in result.stdout
    assert "--sensitive" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--predictions"]),
        (["--predictions={table}", "--sensitive=gendre"], ["gendre", "'gender'"]),
        (["--predictions={table}", "--sensitive=gender", "--table=none.csv", "--id=person"], ["--table=none.csv"]),
        (["--predictions={table}", "--sensitive=gender", "--fail_if=equalised_odds.value>0"], ["equalized_odds.value"]),
        (["--predictions={table}", "--sensitive=gender", "--output=out.txt"], ["out.txt", ".json"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(table, arguments, words):
    result = fairness(*(word.format(table=table) for word in arguments))
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


# ---- the reader, in this process -------------------------------------------------------------


HEAD = "label,prediction,gender,age,p"
GOOD = ["yes,yes,f,20,0.9", "no,no,f,30,0.2", "yes,no,m,40,0.4", "no,no,m,50,0.1"]
COLUMNS = PredictionColumns(("gender",))


def written(tmp_path, *lines, content=None):
    path = tmp_path / "p.csv"
    path.write_bytes(content if content is not None else ("\n".join(lines) + "\n").encode())
    return path


@pytest.mark.parametrize(
    ("lines", "columns", "words"),
    [
        ([HEAD, *GOOD], {"sensitive": ()}, "--sensitive"),
        ([HEAD, *GOOD], {"label": "truth"}, "unknown 'truth'"),
        ([HEAD, *GOOD], {"subject": "person"}, "unknown 'person'"),
        ([HEAD], {}, "has no rows"),
        ([HEAD, *GOOD, "yes,yes"], {}, "line 6: 2 fields"),
        ([HEAD, *GOOD, ",yes,f,20,0.3"], {}, "line 6: label is empty"),
        ([HEAD, *GOOD, "yes,maybe,f,20,0.3"], {}, "line 6: prediction is 'maybe', which no row's label is"),
        ([HEAD, "yes,yes,f,20,0.9", "yes,no,m,20,0.9"], {}, "all rows are 'yes', expected two classes"),
        (
            [HEAD, *(f"{'yn'[i % 2]},y,name{i},1,1" for i in range(500))],
            {},
            "500 different values, expected at most 50",
        ),
        ([HEAD, *(f"{'yn'[i % 2]},y,f,{i},1" for i in range(500))], {"sensitive": ("age",)}, "500 different values"),
        ([HEAD, *(f"{'yn'[i % 2]},y,f,{i},1" for i in range(40))], {"sensitive": ("age",)}, "state bins"),
        ([HEAD, *GOOD], {"sensitive": ("gender:30",)}, "expected numbers"),
        ([HEAD, "y,y,,1,1", "n,n,?,1,1"], {}, "no row has a value"),
        ([HEAD, *GOOD, "no,no,m,50,1.2"], {"score": "p"}, "line 6: p is '1.2', expected a probability"),
        ([HEAD, *GOOD, "no,no,m,50,high"], {"score": "p"}, "line 6: p is 'high'"),
        ([HEAD, *GOOD], {"positive": "maybe"}, "--positive: unknown 'maybe'"),
        ([HEAD, *GOOD, "dunno,no,m,50,1"], {"positive": "yes"}, "3 classes"),
    ],
)
def test_a_faulty_table_is_refused_with_its_line_or_column(tmp_path, lines, columns, words):
    from dataclasses import replace

    with pytest.raises(UserError, match=words) as caught:
        read_predictions(written(tmp_path, *lines), replace(COLUMNS, **columns))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\x00\x00", b"PK\x03\x04\xff\xfe", b'{"label": [1, 2]}'])
def test_a_file_that_is_no_csv_is_refused(tmp_path, content):
    with pytest.raises(UserError, match=r"p\.csv"):
        read_predictions(written(tmp_path, content=content), COLUMNS)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_predictions(tmp_path / "none.csv", COLUMNS)
    with pytest.raises(UserError, match="not a readable"):
        read_predictions(tmp_path, COLUMNS)


def test_1_and_1_point_0_are_one_class(tmp_path):
    rows = ["0,0.0,f,1,1", "1,1.0,m,1,1", "1,0.0,f,1,1"]
    found = read_predictions(written(tmp_path, HEAD, *rows), COLUMNS)
    assert found.classes == ("0", "1")
    assert (found.predicted == [0, 1, 0]).all()


PEOPLE = ["file;smile;gender;person", "a.jpg;yes;f;1", "b.jpg;no;f;2", "c.jpg;yes;m;3", "d.jpg;no;;3", "e.jpg;;m;4"]
JOINED = PredictionColumns(("gender",), label="smile", subject="person")


def join(tmp_path, predictions, people=PEOPLE, **changes):
    from dataclasses import replace

    (tmp_path / "people.csv").write_text("\n".join(people) + "\n")
    return join_predictions(written(tmp_path, *predictions), tmp_path / "people.csv", replace(JOINED, **changes))


def test_predictions_are_joined_with_the_table_of_people_by_id(tmp_path):
    found, notes = join(tmp_path, ["file,prediction", "c.jpg,no", "b.jpg,no", "a.jpg,yes", "d.jpg,yes"])
    assert found.classes == ("no", "yes")
    assert found.labels.tolist() == [1, 0, 1, 0]  # in the order of the predictions
    assert found.predicted.tolist() == [0, 0, 1, 1]
    assert found.attributes[0].values == ("f", "m")
    assert found.attributes[0].codes.tolist() == [1, 0, 0, -1]
    assert len(set(found.subjects.tolist())) == 3
    assert notes == []


def test_what_the_table_does_not_know_is_left_out_and_said(tmp_path):
    lines = ["file,prediction", "a.jpg,yes", "b.jpg,no", "x.jpg,no", "y.jpg,no", "e.jpg,no"]
    found, notes = join(tmp_path, lines)
    assert found.labels.tolist() == [1, 0]
    assert notes[0].startswith("2 of 5 predictions are left out: ")
    assert notes[0].endswith("people.csv has no such file")
    assert notes[1] == "1 of 5 predictions are left out: their smile is not known"


def test_of_people_who_are_in_the_table_twice_the_first_row_counts(tmp_path):
    found, notes = join(tmp_path, ["file,prediction", "a.jpg,yes", "b.jpg,no"], [*PEOPLE, "a.jpg;no;m;9"])
    assert found.labels.tolist() == [1, 0]
    (note,) = notes
    assert note.startswith("1 rows of ")
    assert note.endswith("the first counts")


def test_what_both_files_have_is_taken_from_the_predictions(tmp_path):
    found, _ = join(tmp_path, ["file,prediction,gender", "a.jpg,yes,x", "b.jpg,no,z"])
    assert found.attributes[0].values == ("x", "z")


@pytest.mark.parametrize(
    ("lines", "changes", "words"),
    [
        (
            ["file,prediction", "x/a.jpg,yes", "x/b.jpg,no"],
            {},
            r"none of its 2 rows has a 'file' of .*people\.csv: it says",
        ),
        (["file,prediction", "a.jpg,yes", "a.jpg,no"], {}, r"p\.csv: line 3: file 'a\.jpg' is in line 2 already"),
        (["picture,prediction", "a.jpg,yes"], {}, "column: unknown 'file'"),
        (["file,prediction", "a.jpg,yes"], {"sensitive": ("gendre",)}, "unknown 'gendre', did you mean 'gender'"),
        (["file,prediction", "e.jpg,yes"], {}, "no row that is predicted has a known 'smile'"),
        (["file,prediction", "a.jpg,yes"], {"sensitive": ()}, "--sensitive"),
    ],
)
def test_tables_that_do_not_fit_are_refused_in_one_line(tmp_path, lines, changes, words):
    with pytest.raises(UserError, match=words) as caught:
        join(tmp_path, lines, **changes)
    assert "\n" not in str(caught.value)


def test_the_score_is_the_positive_classs_and_becomes_the_predicted_ones(tmp_path):
    found = read_predictions(written(tmp_path, HEAD, *GOOD), PredictionColumns(("gender",), score="p"))
    assert found.confidence == pytest.approx([0.9, 0.8, 0.6, 0.9])
    turned = read_predictions(written(tmp_path, HEAD, *GOOD), PredictionColumns(("gender",), score="p", positive="no"))
    assert turned.classes == ("yes", "no")
    assert turned.confidence == pytest.approx([0.1, 0.2, 0.4, 0.1])


def test_predictions_that_are_all_one_value_are_measured_and_said(tmp_path):
    same = [line.replace("yes,yes", "yes,no") for line in GOOD]
    (caution,) = cautions(read_predictions(written(tmp_path, HEAD, *same), COLUMNS))
    assert "every prediction is 'no'" in caution
    assert cautions(read_predictions(written(tmp_path, HEAD, *GOOD), COLUMNS)) == []
    alone = [line.replace(",m,", ",f,") for line in GOOD]
    (caution,) = cautions(read_predictions(written(tmp_path, HEAD, *alone), COLUMNS))
    assert "one group alone" in caution
    (caution,) = cautions(read_predictions(written(tmp_path, HEAD, *GOOD, "no,no,F ,50,0.1"), COLUMNS))
    assert caution == "gender: 'F' and 'f' differ in spelling alone, and are two groups here"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("gender,age:30,60", ("gender", "age:30,60")),
        ("age:q3, gender", ("age:q3", "gender")),
        ("age:-1,2.5,gender", ("age:-1,2.5", "gender")),
        ("", ()),
    ],
)
def test_names_are_split_and_edges_stay_together(text, names):
    assert split_names(text) == names
