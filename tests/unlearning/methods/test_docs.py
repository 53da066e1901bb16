"""docs/methods.md says of every method what the code says."""

import re
from pathlib import Path

from tfpdu.unlearning import METHODS

PAGE = (Path(__file__).parents[3] / "docs/methods.md").read_text()
ROWS = {found[1]: found[0] for found in re.finditer(r"^\| `(\w+)`[^|]*\|[^|]*\|([^|]*)\|.*$", PAGE, re.M)}


def test_every_method_is_in_the_table():
    assert set(METHODS) | {"sharded"} == set(ROWS)


def test_the_table_says_which_methods_do_without_retained_rows():
    said = {name: row.split("|")[3].strip().startswith("yes") for name, row in ROWS.items() if name in METHODS}
    assert said == {name: not method.needs_retain for name, method in METHODS.items()}
