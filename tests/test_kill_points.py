"""A run and its deletions, killed at each kind of change that they make on the disk, end as if nothing had happened.

The story: a run is stopped after iteration 0; a request is acknowledged and carried out; the run goes on, another
request comes while it does; when it is finished a third one comes. Each part is a command of its own. For each point a
command is started from what the uninterrupted one found, killed with SIGKILL there, and given again as its user would.
"""

import fnmatch
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.forked import Doomed, Point, points, sample
from tests.loop_config import tiny_config
from tests.test_loop import contents, iterations
from tfpdu.common import files
from tfpdu.unlearning import Ledger

ROOT = Path(__file__).parents[1]
SMALL = {
    "pools__non_members_calibration": 0.02,
    "pools__non_members_evaluation": 0.03,
    "pools__auxiliary": 0.05,
    "pools__test": 0.05,
    "pools__private": 0.1,
    "draw__rows": 60,
    "generator__images": 128,
    "generator__checkpoint_images": 64,
    "generator__widths": (32,),
    "generator__embedding": 8,
    "generator__steps": 2,
    "generator__gate_rows": 10,
    "generator__min_rows": 10,
    "judge__epochs": 2,
    "views__count": 2,
    "audit__attacks": ("m_loss",),
    "audit__rows": 8,
    "audit__full_rows": 8,
    "ensemble__width": 4,
}
SLICED = {"ensemble__slices": 2, "ensemble__slice_order": "forget", "ensemble__base_share": 0.6, "ensemble__epochs": 3}


class Story:
    """The commands of a run, what each found and what it changed, when nothing interrupts them."""

    def __init__(self, doomed: Doomed, config: dict, folder: Path):
        self.doomed, self.config, self._folder = doomed, config, folder
        self.parts: list[dict[str, Any]] = []
        self.changes: list[list[str]] = []
        self.found(0).mkdir(parents=True)
        self._tell("begin")
        drawn = files.read_json(self.found(1) / "pools.json")
        stay = [row_id for row_id, t in zip(drawn["draw"], drawn["leaves"], strict=True) if t == 2]
        left = [row_id for row_id, t in zip(drawn["draw"], drawn["leaves"], strict=True) if t == 1]
        pools = drawn["pools"]
        self.ids = [*stay[:2], pools["auxiliary"][0]]
        self._tell("forget", ids=self.ids, request_id="first")
        self._tell("go on", ids=stay[2:5], request_id="second")
        self._tell("forget", ids=[stay[5], left[0], pools["test"][0]], request_id="third")

    def _tell(self, command: str, **options: Any) -> None:
        part = {"command": command, "options": options}
        number = len(self.parts)
        shutil.copytree(self.found(number), self.found(number + 1))
        done = self.do(part, self.found(number + 1))
        assert done["status"] == 0, done["output"]
        self.parts.append(part)
        self.changes.append(json.loads(done["seen"]))

    def found(self, number: int) -> Path:
        """The run directory before a command."""
        return self._folder / f"before-{number}" / "run"

    def do(self, part: dict[str, Any], workdir: Path, at: tuple[int, str] | None = None, **more: Any) -> dict[str, Any]:
        """Carries out a command in a directory, with more options than it has in the story."""
        options = {**part["options"], **more}
        return self.doomed.do({**part, "options": options, "config": self.config, "workdir": str(workdir)}, at)

    def kill(self, point: Point, workdir: Path) -> None:
        """Kills the command at the point and gives it again; then all is as after the uninterrupted one."""
        part = self.parts[point.part]
        shutil.copytree(self.found(point.part), workdir)
        killed = self.do(part, workdir, point.at)
        assert killed["status"] == -9, killed["output"]
        assert killed["seen"] == point.name
        more = {"told": "acknowledged" in killed["output"]} if part["options"] else {}
        done = self.do(part, workdir, **more)
        assert done["status"] == 0, done["output"]
        self.compare(workdir, point.part + 1)

    def compare(self, workdir: Path, number: int) -> None:
        """Fails where a run directory is not what the uninterrupted story has before a command."""
        ours, theirs = record(workdir), record(self.found(number))
        other = [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]
        assert not other, "\n".join(f"{n}: {ours.get(n)!r:.2000}, expected {theirs.get(n)!r:.2000}" for n in other)


def record(workdir: Path) -> dict[str, Any]:
    """All that is in a run directory, without times; of the ledger's seals only that they are there."""
    found = contents(workdir)
    names = sorted(str(p.relative_to(workdir)) for p in workdir.rglob("*") if p.name != ".lock")
    for name, value in found.items():
        if name.startswith("receipts/") or name == "ledger.jsonl" or name.endswith("/store.json"):
            found[name] = _untimed(value)
    if "ledger.head" in found:
        found["ledger.head"] = found["ledger.head"].split()[0]
    return {"names": names, **found}


def _untimed(value: Any) -> Any:
    clock = ("time", "sha256", "previous", "started", "asked", "due", "stamp")
    if isinstance(value, dict):
        return {k: _untimed(v) for k, v in value.items() if k not in clock or (k == "asked" and len(v) == 32)}
    return [_untimed(v) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def doomed(tmp_path_factory):
    process = Doomed("tests.doomed", tmp_path_factory.mktemp("doomed"))
    yield process
    process.close()


@pytest.fixture(scope="module")
def service(doomed, digits_archive, tmp_path_factory) -> Story:
    """In service mode, slices in the order of forgetting, and pictures on disk."""
    data = {"data__name": "npz", "data__directory": digits_archive, "data__in_memory_gb": 0}
    return Story(
        doomed, tiny_config(**SMALL, **SLICED, **data, deletion__mode="service"), tmp_path_factory.mktemp("service")
    )


@pytest.fixture(scope="module")
def strict(doomed, tmp_path_factory) -> Story:
    """In experiment mode, with a generator that is made anew at each step."""
    config = tiny_config(**SMALL, generator__lineage="strict")
    return Story(doomed, config, tmp_path_factory.mktemp("strict"))


# (part of the story, how, what changes, and which of these changes)
MOMENTS = [
    (0, "torn", "rename config.json", 0),
    (0, "before", "rename samples/0000.npz", 0),
    (1, "after", "create ledger.jsonl", 0),
    (1, "torn", "append ledger.jsonl", 1),  # the request
    (1, "after", "append ledger.jsonl", 1),
    (1, "torn", "append metrics.jsonl", -1),  # what was measured after unlearning
    (1, "after", "rename cache/npz/store.json", 0),  # the pixels of a deleted row are gone
    (2, "after", "append metrics.jsonl", -1),  # the last iteration
    (3, "after", "remove ledger.clear/*.json", 0),
    (3, "before", "rename report.html", -1),
]


@pytest.mark.parametrize(("part", "way", "name", "which"), MOMENTS)
def test_a_command_that_was_killed_and_is_given_again_ends_as_if_it_had_not_been(
    service, tmp_path, part, way, name, which
):
    fit = [p for p in points(service.changes) if (p.part, p.way) == (part, way) and fnmatch.fnmatch(p.name, name)]
    service.kill(fit[which], tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(70))
def test_killed_anywhere_in_service_mode_nothing_is_lost_or_done_twice(service, tmp_path, number):
    service.kill(sample(points(service.changes), 70, seed=0)[number], tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(50))
def test_killed_anywhere_under_strict_lineage_nothing_is_lost_or_done_twice(strict, tmp_path, number):
    strict.kill(sample(points(strict.changes), 50, seed=0)[number], tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("story", ["service", "strict"])
def test_killed_again_and_again_a_command_ends_as_if_it_had_not_been(story, tmp_path, request):
    story = request.getfixturevalue(story)
    shutil.copytree(story.found(2), tmp_path / "run")
    kills = 0
    while (done := story.do(story.parts[2], tmp_path / "run", (12, "before")))["status"] == -9:
        kills += 1
        assert kills < 60
    assert done["status"] == 0, done["output"]
    assert kills > 5
    story.compare(tmp_path / "run", 3)


@pytest.mark.slow
@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("moment", ["training the generator", "making samples", "learning", "audit"])
@pytest.mark.parametrize("story", ["service", "strict"])
def test_a_request_in_the_middle_of_an_iteration_that_is_then_killed_is_done_before_it(
    story, moment, turn, tmp_path, request
):
    if (story, moment, turn) == ("service", "training the generator", 2):
        return  # there is only one
    story, workdir = request.getfixturevalue(story), tmp_path / "run"
    asked = {"command": "asked", "options": {"ids": story.ids, "moment": moment, "turn": turn}}
    killed = story.do(asked, workdir)
    assert killed["status"] == -9, killed["output"]
    done = story.do({"command": "run", "options": {}}, workdir)  # and verifies by replay
    assert done["status"] == 0, done["output"]
    history = Ledger(workdir).history()
    assert {name: (r.state, r.round) for name, r in history.requests.items()} == {moment: ("done", 1)}
    assert list(history.rounds) == [1]
    events = iterations(workdir)
    assert len({e["n_original"] + e["n_synthetic"] for e in events}) == 1
    assert all(e["bias_kl"] < 1e-6 for e in events)
    assert [e["iteration"] for e in events] == [e["iteration"] for e in iterations(story.found(4))]


@pytest.mark.slow
def test_a_forked_child_gives_what_a_process_of_its_own_gives(strict, tmp_path):
    code = "import json, sys; from pathlib import Path; from tests import doomed; doomed.stand_in();"
    code += " doomed.begin(json.loads(sys.argv[1]), Path(sys.argv[2]))"
    command = [sys.executable, "-c", code, json.dumps(strict.config), str(tmp_path / "run")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    strict.compare(tmp_path / "run", 1)
