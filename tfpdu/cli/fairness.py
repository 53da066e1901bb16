"""`tfpdu fairness`, `scripts/fairness.py`: group fairness of any model's predictions, before any training.

    tfpdu fairness --predictions=my_model.csv --sensitive=gender,age:30,60 --output=fairness.json
    tfpdu fairness --predictions=my_model.csv --table=people.csv --label=smiling --sensitive=gender,age:30,60

The CSV has a row a person or picture: the true class, the predicted one, and the sensitive columns. What it lacks of
these is looked up in --table by --id, such as the table of pictures that `tfpdu init` took. Prints a table of measures;
--output also writes the rows as JSON, and a page beside it. --fail_if=equalized_odds.ci_low>0.1 makes it a gate for
pipelines: names are [attribute.][group.]measure.(value|ci_low|ci_high).

Exit codes: 0 done, no gate fired; 2 the input is at fault, or a gate cannot be decided; 3 a gate fired (one line on
stderr says which).
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

_PREDICTIONS = flags.DEFINE_string("predictions", "", "a CSV with a header: UTF-8, commas, semicolons or tabs")
_TABLE = flags.DEFINE_string("table", "", "a CSV with what --predictions lacks of truth, groups and persons")
_ID = flags.DEFINE_string("id", "file", "with --table: the column by which both are joined")
_SENSITIVE = flags.DEFINE_string(
    "sensitive", "", "columns of the groups to compare, e.g. gender,age:30,60 (edges) or age:q3 (equally full bins)"
)
_LABEL = flags.DEFINE_string("label", "label", "the column of the true class")
_PREDICTION = flags.DEFINE_string("prediction", "prediction", "the column of the predicted class")
_SCORE = flags.DEFINE_string(
    "score", "", "a column of probabilities, for calibration: of the positive class; of more than two, of the predicted"
)
_SUBJECT = flags.DEFINE_string("subject", "", "the column of the person, where one has several rows: wider intervals")
_POSITIVE = flags.DEFINE_string("positive", "", "which of two classes is the positive one; default the second in order")
_OUTPUT = flags.DEFINE_string("output", "", "where to write the rows, a .json file; the page goes beside it as .html")
_FAIL_IF = flags.DEFINE_multi_string(
    "fail_if", [], "end with exit code 3 if this holds, e.g. equalized_odds.ci_low>0.1; may be given several times"
)


def _main(argv: Sequence[str]) -> None:
    del argv
    if not _PREDICTIONS.value:
        raise UserError("--predictions: expected a CSV of predictions, e.g. --predictions=my_model.csv")
    output = app.json_path(_OUTPUT.value)
    from tfpdu.audit.fairness import measures, numbers
    from tfpdu.audit.prediction_file import (
        PredictionColumns,
        cautions,
        join_predictions,
        read_predictions,
        split_names,
    )
    from tfpdu.common import files
    from tfpdu.common.gate import Gate, fired
    from tfpdu.reporting.fairness import as_lines
    from tfpdu.reporting.fairness_page import write_fairness_page

    gates = [Gate.parse(text) for text in _FAIL_IF.value]
    columns = PredictionColumns(
        sensitive=split_names(_SENSITIVE.value),
        label=_LABEL.value,
        prediction=_PREDICTION.value,
        score=_SCORE.value,
        subject=_SUBJECT.value,
        positive=_POSITIVE.value,
        id=_ID.value,
    )
    if _TABLE.value:
        predictions, notes = join_predictions(_PREDICTIONS.value, _TABLE.value, columns)
    else:
        predictions, notes = read_predictions(_PREDICTIONS.value, columns), []
    rows, notes = measures(predictions), [*notes, *cautions(predictions)]
    print("\n".join([*(f"note: {line}" for line in notes), *as_lines(rows, predictions.classes)]))
    if output:
        files.write_json(output, rows)
        write_fairness_page(
            output.with_suffix(".html"), Path(_PREDICTIONS.value).name, rows, predictions.classes, notes
        )
        print(f"{output}\n{output.with_suffix('.html')}")
    app.end_if_fired(fired(gates, numbers(rows)))


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
