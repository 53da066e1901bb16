"""`tfpdu compare`, `scripts/compare_paper.py`: runs beside the numbers of the paper that tfpdu implements.

    tfpdu compare --workdir=runs/table1/seed-0,runs/table1/seed-1,runs/table1/seed-2 --page=comparison.html

Several directories are several seeds of one configuration. A published number is *reproduced* where it lies in our
95 % interval (Student's t over two seeds or more, else binomial within the run), else *better* or *worse*; a statement
("A above B") is reproduced where the whole interval agrees. Rows that the runs cannot answer are *not comparable*, with
the reason: another data set, another number of originals, an iteration that is not done. The paper's numbers have no
interval, and no tolerance is added to ours.

Exit code 0 whatever the verdicts; 2 where a directory is no run, or the runs differ in more than the seed.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

_WORKDIR = flags.DEFINE_list("workdir", [], "run directories of one configuration, a seed each")
_OUTPUT = flags.DEFINE_string("output", "", "also write all rows here, a .json file")
_PAGE = flags.DEFINE_string("page", "", "also write the page here, an .html file")


def _main(argv: Sequence[str]) -> None:
    del argv
    workdirs = [word for word in _WORKDIR.value if word]
    if not workdirs:
        raise UserError("--workdir: expected the directory of a run, or several, e.g. --workdir=runs/a,runs/b")
    output, page = app.json_path(_OUTPUT.value), Path(_PAGE.value)
    if _PAGE.value and (page.suffix != ".html" or not page.parent.is_dir()):
        raise UserError(f"--page={_PAGE.value}: expected a file that ends in .html, in a directory that is there")
    from tfpdu.common import files
    from tfpdu.reporting.comparison import compare
    from tfpdu.reporting.comparison_page import write_comparison_page

    comparison = compare(workdirs)
    print("\n".join(comparison.as_text()))
    if output:
        files.write_json(output, comparison.as_json())
        print(output)
    if _PAGE.value:
        write_comparison_page(page, comparison)
        print(page)


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
