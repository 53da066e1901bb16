"""What a run did, for people: report.html, Table I, TensorBoard, and figures of data bias.

Everything is drawn from the run directory alone, so it can be drawn again at any time.
"""

from tfpdu.reporting.html import write_report
from tfpdu.reporting.receipt import write_receipt_page
from tfpdu.reporting.tables import console_table, print_table, write_table1
from tfpdu.reporting.tensorboard import TensorBoardWriter, rebuild_tensorboard

__all__ = [
    "TensorBoardWriter",
    "console_table",
    "print_table",
    "rebuild_tensorboard",
    "write_receipt_page",
    "write_report",
    "write_table1",
]
