"""A grid of measurements that can be stopped: each cell is measured once, and kept as a JSON file of its own."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfpdu.common import files
from tfpdu.common.interrupt import safe_point
from tfpdu.common.progress import Progress

Line = dict[str, Any]


class Cells:
    """The cells of a grid that are done.

    Args:
      directory: of the files; made when the first cell is done.
    """

    def __init__(self, directory: Path):
        self._directory = directory

    def file(self, name: str) -> Path:
        """Where a cell's result is kept; a name may have folders in it."""
        return self._directory / f"{name}.json"

    def done(self, name: str) -> bool:
        """Whether a cell has been measured."""
        return self.file(name).exists()

    def read(self, name: str) -> Line:
        """The result of a cell that is done."""
        return dict(files.read_json(self.file(name)))

    def adopt(self, name: str, line: Line) -> None:
        """Takes what was measured elsewhere for a cell's result, unless it has one."""
        if not self.done(name):
            files.write_json(self.file(name), line)

    def results(self, names: Sequence[str]) -> list[Line]:
        """The results of those of these cells that are done, in order."""
        return [self.read(name) for name in names if self.done(name)]

    def drop(self, names: Sequence[str], stale: Callable[[Line], bool]) -> None:
        """Removes the results of cells that are to be measured again."""
        for name in names:
            if self.done(name) and stale(self.read(name)):
                self.file(name).unlink()

    def run(
        self, title: str, names: Sequence[str], measure: Callable[[str], Line], note: Callable[[Line], str] = str
    ) -> None:
        """Measures the cells that are not done, in order, and adds to each its `cell_seconds`.

        Args:
          title: of the progress.
          names: all cells.
          measure: from a cell's name to its result, JSON-ready.
          note: from a result to a few words for the progress.

        Raises:
          StopRequested: a signal came; the cells before are kept.
        """
        done = sum(map(self.done, names))
        with Progress(title, len(names), "cells", done, every_seconds=0) as progress:
            for name in names:
                if self.done(name):
                    continue
                safe_point()
                start = time.perf_counter()
                line = measure(name)
                files.write_json(self.file(name), {**line, "cell_seconds": time.perf_counter() - start})
                progress.advance(1, f"{name} {note(line)}")
