"""`tfpdu init`, `scripts/init.py`: from a folder of pictures and a table to a config that fits them.

    tfpdu init mine --images=photos/ --table=people.csv --label=smiling --sensitive=gender,age:30,60 --subject=person

The table is a CSV with a header and a row a picture; its column `file` names the picture, relative to --images.
Writes the folder mine/ with config.py, table.csv (the usable rows), problems.csv, duplicates.csv and cells.csv, and
says what to run next. Changes neither pictures nor table, trains nothing, and never overwrites a folder.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

_IMAGES = flags.DEFINE_string("images", "", "the folder of the pictures; folders in it count")
_TABLE = flags.DEFINE_string("table", "", "the CSV: UTF-8, commas, semicolons or tabs; default the one in --images")
_LABEL = flags.DEFINE_string("label", "", "the column of what is to be learned")
_SENSITIVE = flags.DEFINE_string(
    "sensitive", "", "columns of the groups to balance, e.g. gender,age:30,60 (edges) or age:q3 (equally full bins)"
)
_SUBJECT = flags.DEFINE_string("subject", "", "the column of the person, where one is on several pictures")


def _main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise UserError("init: expected the folder to make, e.g. tfpdu init mine --images=photos/ --label=smiling")
    if not _IMAGES.value:
        raise UserError("--images: expected the folder of your pictures, e.g. --images=photos/")
    from tfpdu.audit.prediction_file import split_names
    from tfpdu.own_data import Request, check_home, open_table

    home = Path(argv[1]).expanduser()
    check_home(home)
    sensitive = split_names(_SENSITIVE.value)
    request = Request(Path(_IMAGES.value).expanduser(), _TABLE.value, _LABEL.value, sensitive, _SUBJECT.value)
    open_table(request)  # most slips are in the table, and are said at once
    from tfpdu.own_data.project import make_project  # loads TensorFlow: seconds

    print("\n".join(make_project(home, request).as_lines()))


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main, arguments=1)
