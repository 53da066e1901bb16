"""Clients under whose feet versions come and go get an answer to every request, and from a whole version."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.serving import tiny
from tests.serving.fake_server import FakeServer
from tfpdu.serving import Client
from tfpdu.serving.publish import Publisher, PublishSettings
from tfpdu.serving.versions import Repository

CLIENTS = 8


class Story:
    """Publishes and withdraws while clients ask, and remembers who said what when.

    Version v learns the row `row-v` and, from version 2 on, no row that was deleted; every fourth publication follows a
    deletion of what the version before it learned, which is then withdrawn.
    """

    def __init__(self, base, publications, withdrawals):
        self.repository = Repository(base, "toy")
        self.publications, self.withdrawals = publications, withdrawals
        self.picture = tiny.release(0).examples[:1]
        self.expected: dict[int, np.ndarray] = {}
        self.withdrawn: dict[int, float] = {}
        self.done = threading.Event()

    def tell(self, server):
        every, deleted = self.publications // self.withdrawals, []
        client = Client(server.address, "toy")
        for turn in range(1, self.publications + 1):
            made = tiny.release(turn, (f"row-{turn}",), k=1)
            self.expected[turn] = made.ensemble.probabilities(self.picture)[0]
            if turn % every == 0:
                deleted.append(f"row-{turn - 1}")
            publisher = Publisher(
                self.repository,
                tiny.deletions(*deleted),
                [client],
                PublishSettings(patience=60, every=0.005, erase=True),
                lambda path: {"differences": {"skipped": 0.0}},  # trials have tests of their own
                lambda line: None,
            )
            with self.repository.hold():
                assert publisher.publish(made).number == turn
            for number, version in self.repository.journal().versions.items():
                if version.state == "withdrawn" and number not in self.withdrawn:
                    self.withdrawn[number] = time.monotonic()
        self.done.set()

    def who(self, answer):
        """The version that gives this answer; an answer of none would be that of a half-loaded one."""
        return next(n for n, expected in list(self.expected.items()) if np.abs(answer - expected).max() < 1e-5)


def ask(story, server, least, deadline):
    """One client: at least so many requests, and until the story is told; [(start, version)], in order."""
    client, answers = Client(server.address, "toy"), []
    while len(answers) < least or not story.done.is_set():
        assert time.monotonic() < deadline
        start = time.monotonic()
        label = "stable" if len(answers) % 2 else None
        answers.append((start, story.who(client.predict(story.picture, label=label).probabilities[0])))
    return answers


def carry_out(base, requests, publications, withdrawals):
    story = Story(base, publications, withdrawals)
    with FakeServer(story.repository.base / "models.config", poll=0.005) as server:
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            telling = pool.submit(story.tell, server)
            while ("toy", "stable") not in server.labels:
                time.sleep(0.01)
            each, deadline = requests // CLIENTS, time.monotonic() + 1500
            asking = [pool.submit(ask, story, server, each, deadline) for _ in range(CLIENTS)]
            telling.result()
            answers = [answer for future in asking for answer in future.result()]
        assert server.refusals == []
    assert len(answers) >= requests
    assert len(story.withdrawn) == withdrawals
    late = [(n, at) for at, n in answers if n in story.withdrawn and at > story.withdrawn[n]]
    assert late == []
    assert {n for _, n in answers} >= {1, publications} if requests > 1000 else True
    assert all(not story.repository.path(number).exists() for number in story.withdrawn)


@pytest.mark.slow
def test_no_request_fails_while_versions_come_and_go(tmp_path):
    carry_out(tmp_path / "models", requests=160, publications=3, withdrawals=1)


@pytest.mark.slow
def test_ten_thousand_requests_see_twenty_publications_and_five_withdrawals(tmp_path):
    carry_out(tmp_path / "models", requests=10_000, publications=20, withdrawals=5)
