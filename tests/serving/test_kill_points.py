"""Publishing, killed at any change that it makes on the disk, leaves whole versions, and goes on when called again."""

import json
import shutil

import numpy as np
import pytest

from tests.forked import Doomed, points, sample
from tests.serving import tiny
from tests.serving.fake_server import FakeServer
from tfpdu.common import files
from tfpdu.serving import Client
from tfpdu.serving.export import damage, export
from tfpdu.serving.versions import Repository

pytestmark = pytest.mark.slow


class Story:
    """Version 1 answers; then version 2 is published, after a row that version 1 learned was deleted."""

    def __init__(self, folder, atomic):
        self.folder, self.atomic, self.known = folder, atomic, {}
        self.doomed = Doomed("tests.serving.doomed", folder)
        self.ready = {
            n: export(tiny.release(n, rows), folder / f"ready-{n}", "toy") for n, rows in ((1, ("a", "b")), (2, ("b",)))
        }
        first = folder / "first"
        with self.server(first) as server:
            self._done(self.doomed.do(self.order(first, 1, server)))
        whole = folder / "whole"
        self.begin(whole)
        with self.server(whole) as server:
            done = self.doomed.do(self.order(whole, 2, server))
            self._done(done)
        self.changes = json.loads(done["seen"])
        self.expected = record(whole)

    @staticmethod
    def _done(answer):
        assert answer["status"] == 0, answer["output"]

    def order(self, base, number, server, after=None):
        return {
            "models": str(base),
            "ready": str(self.ready[number]),
            "deleted": ["a"] if number == 2 else [],
            "servers": [server.address],
            "atomic": self.atomic,
            "after": after,
        }

    def begin(self, base):
        """The directory as it is before version 2, with paths of its own."""
        shutil.copytree(self.folder / "first", base)
        for path in (base / "models.config", base / "toy" / "versions.json"):
            path.write_text(path.read_text().replace(str(self.folder / "first"), str(base)))

    def server(self, base):
        return FakeServer(base / "models.config", poll=0.005, known=self.known)

    def kill(self, base, at=None, after=None):
        """Killed there: what answers is whole. Called again: as if nothing had happened."""
        self.begin(base)
        with self.server(base) as server:
            killed = self.doomed.do(self.order(base, 2, server, after), at)
            assert killed["status"] == -9 or (after is not None and killed["status"] == 0), killed["output"]
            self.assert_whole(base, server)
            self._done(self.doomed.do(self.order(base, 2, server)))
            assert Client(server.address, "toy").labelled("stable") == 2
        assert record(base) == self.expected

    def assert_whole(self, base, server):
        """Somebody answers as stable, with the answers of a whole version; a fresh server could start from here."""
        pictures = tiny.release(0).examples
        answer = (
            Client(server.address, "toy").predict(pictures, label="stable").probabilities if server.labels else None
        )
        with self.server(base) as fresh:
            client = Client(fresh.address, "toy")
            while not fresh.versions or client.labelled("stable") is None:
                assert not any(error for _, error in fresh.states.copy().values())
            started = client.predict(pictures, label="stable").probabilities
        for found in (started,) if answer is None else (answer, started):
            known = [tiny.release(n).ensemble.probabilities(pictures) for n in (1, 2)]
            assert min(np.abs(found - expected).max() for expected in known) < 1e-5
        repository = Repository(base, "toy")
        for number in repository.journal().listed():
            assert damage(repository.path(number)) is None


def record(base):
    """All names, and what the journal says but for times and addresses, which are other each time."""
    names = sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.name != ".lock")
    journal = files.read_json(base / "toy" / "versions.json")
    for version in journal["versions"].values():
        version["times"] = sorted(version["times"])
        version["confirmed"] = len(version["confirmed"])
    journal["served_from"] = ""
    text = (base / "models.config").read_text().replace(str(base), "")
    return {"names": names, "journal": journal, "config": text}


@pytest.fixture(scope="module", params=["disk", "bucket"])
def story(request, tmp_path_factory):
    told = Story(tmp_path_factory.mktemp("story"), request.param == "disk")
    yield told
    told.doomed.close()


def test_the_story_changes_the_disk_where_it_matters(story):
    text = "\n".join(story.changes)
    for name in ("toy/versions.json", "models.config"):
        assert f"rename {name}" in text
    assert ("rename toy/2" in text) == story.atomic
    assert "rename toy/.export-gone-1" in text


def test_kills_at_fifty_changes_leave_whole_versions(story, tmp_path):
    for i, point in enumerate(sample(points([story.changes]), 50, 1)):
        story.kill(tmp_path / str(i), point.at)


def test_kills_at_random_moments_leave_whole_versions(story, tmp_path):
    for i, after in enumerate(np.random.default_rng(2).uniform(0.001, 0.4, 25)):
        story.kill(tmp_path / str(i), after=float(after))
