"""A run of Algorithm 2 becomes versions, and what a deletion takes from the run it takes from what answers."""

import json

import numpy as np
import pytest

from tests.commands import command
from tests.serving import tiny
from tests.serving.fake_server import FakeServer
from tests.test_deletion import begun, delete
from tests.traces import traces
from tfpdu.common import UserError, files
from tfpdu.common.gate import Gate
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import load
from tfpdu.ensemble import resnet
from tfpdu.publication import check, deletions, note_publication, note_withdrawals, release_of
from tfpdu.serving import Client
from tfpdu.serving.export import EXTRA
from tfpdu.serving.publish import Publisher, PublishSettings
from tfpdu.serving.versions import Repository
from tfpdu.settings import Settings
from tfpdu.unlearning import Ledger
from tfpdu.verification import verify

COPIES = {"augment__method": "oversample", "draw__rows": 60, "ensemble__width": 4, "ensemble__epochs": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in service mode that was stopped after iteration 0; its networks are stand-ins of a few layers.

    No other test has networks of this width, so none finds a stand-in among the evaluators that are kept.
    """
    workdir = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet, "basic_block", lambda x, filters, stride, name, even: x)
        yield begun(workdir, 0, **COPIES | {"ensemble__width": 5}, deletion__mode="service"), workdir


def opened(config, workdir):
    return Settings.from_config(config), RunDirectory(workdir, config)


def publish(config, workdir, models, servers=(), **settings):
    options, directory = opened(config, workdir)
    with directory.lock():
        release = release_of(options, directory)
        assert check(options, directory, release, []) == []
        repository = Repository(models, "digits")
        note_publication(directory, repository)
        with repository.hold():
            quick = PublishSettings(patience=30, every=0.01, erase=options.deletion.mode == "service", **settings)
            clients = [Client(server, "digits") for server in servers]
            publisher = Publisher(repository, deletions(directory), clients, quick, tiny.trial, lambda line: None)
            publisher.publish(release, workdir=str(workdir))
            note_withdrawals(directory, repository)
    return release, repository


def finding(config, workdir):
    return next((f for f in verify(*opened(config, workdir)) if f.name == "versions"), None)


def test_a_deletion_reaches_what_answers(run, tmp_path):
    config, workdir = run
    assert finding(config, workdir) is None
    models = tmp_path / "models"
    with FakeServer(models / "models.config") as server:
        release, repository = publish(config, workdir, models, [server.address])
        assert release.examples_are == "noise"  # copies of originals are no synthetic rows
        assert finding(config, workdir).holds
        learned = release.lineage["rows"]
        ledger = Ledger(workdir)
        drawn = files.read_json(workdir / "pools.json")["draw"]
        assert set(learned) == set(ledger.salt.digests("id", drawn).values())
        gone = drawn[:2]
        records = load("digits")
        shown = [records.images[i] for i in records.rows_of(gone)]
        assert traces(models, gone, shown) == []

        delete(config, workdir, gone)
        refused = finding(config, workdir)
        assert not refused.holds
        assert "learned 2 deleted rows and is published; publish the run again" in refused.words

        after, _ = publish(config, workdir, models, [server.address])
        assert len(set(after.lineage["rows"])) == len(learned) - 2
        assert after.lineage["round"] == 1
        assert repository.numbers() == [2]
        assert finding(config, workdir).holds
        publish(config, workdir, models, [server.address])  # nothing is said twice
        (line,) = Ledger(workdir).entries("withdrawn")
        assert (line.payload["model"], line.payload["version"]) == ("digits", 1)
        assert line.payload["servers"] == [server.address]
        client = Client(server.address, "digits")
        assert {n: s.state for n, s in client.status().items()} == {1: "END", 2: "AVAILABLE"}
        found = client.predict(after.examples, label="stable").probabilities
        np.testing.assert_allclose(found, after.ensemble.probabilities(after.examples), atol=1e-5)
        assert traces(models, gone, shown) == []


def test_what_is_not_whole_is_not_published(run, tmp_path):
    config, workdir = run
    settings, directory = opened(config, workdir)
    release = release_of(settings, directory)
    assert check(settings, directory, release, [Gate.parse("m_loss.auc>2")]) == []
    assert "m_loss.auc" in check(settings, directory, release, [Gate.parse("m_loss.auc>0")])[0]
    with pytest.raises(UserError, match=r"unknown 'm_los\.auc', did you mean"):
        check(settings, directory, release, [Gate.parse("m_los.auc>2")])
    weights = next((workdir / "shards").glob("*/*.h5"))
    kept = weights.read_bytes()
    weights.write_bytes(kept + b"x")
    with pytest.raises(UserError, match="does not verify: weights"):
        check(settings, directory, release, [])
    weights.write_bytes(kept)


@pytest.mark.slow
def test_examples_are_synthetic_rows_where_there_are_some(tmp_path):
    config = begun(tmp_path / "run", 0)
    settings, directory = opened(config, tmp_path / "run")
    release = release_of(settings, directory, precision="mixed_bfloat16", member_votes=True)
    assert release.examples_are == "synthetic rows"
    originals = load("digits").images
    assert not any((originals == image).all(axis=(1, 2, 3)).any() for image in release.examples)
    repository = Repository(tmp_path / "models", "digits")
    with repository.hold():
        Publisher(repository, deletions(directory), trial=tiny.trial, note=lambda line: None).publish(release)
    assert files.read_json(repository.path(1) / EXTRA / "golden.json")["tolerance"] == 0.05


# ---- the command line ----------------------------------------------------------------------------


def tfpdu(*words):
    return command("tfpdu", *words, timeout=600)


@pytest.mark.slow
def test_the_whole_round_by_command_line(tmp_path):
    workdir, models = tmp_path / "run", tmp_path / "models"
    begun(workdir, 0, **COPIES, deletion__mode="service")
    with FakeServer(models / "models.config") as server:
        where = [f"--models={models}", f"--server={server.address}", "--name=digits"]
        done = tfpdu("serving", "publish", f"--workdir={workdir}", *where)
        assert done.returncode == 0, done.stderr
        assert "a fresh process gives the golden answers" in done.stdout
        assert "published as stable; every named server says so (1)" in done.stdout
        refused = tfpdu("serving", "publish", f"--workdir={workdir}", *where, "--fail_if=m_loss.auc>0")
        assert refused.returncode == 3
        assert "nothing was published" in refused.stderr

        status = tfpdu("serving", "status", *where)
        assert status.returncode == 0, status.stderr
        assert f"{server.address}: version 1: AVAILABLE stable" in status.stdout
        checked = tfpdu("serving", "check", *where, "--requests=3", f"--output={tmp_path / 'check.json'}")
        assert checked.returncode == 0, checked.stderr
        rows = json.loads((tmp_path / "check.json").read_text())[0]
        assert max(rows["signatures"].values()) < 1e-5
        assert [row["batch"] for row in rows["speed"]] == [1, 8, 64]

        gone = files.read_json(workdir / "pools.json")["draw"][0]
        forgotten = tfpdu("forget", f"--workdir={workdir}", f"--ids={gone}", f"--publish={models}", *where[1:])
        assert forgotten.returncode == 0, forgotten.stderr
        words = (
            "version 1: withdrawn (it learned 1 rows that were deleted); every named server says that it is gone (1)"
        )
        assert words in forgotten.stdout
        assert not (models / "digits" / "1").exists()
        back = tfpdu("serving", "rollback", *where, "--version=1")
        assert back.returncode == 2
        assert back.stderr.count("\n") == 1
        assert "was taken off for good" in back.stderr
        assert tfpdu("verify", f"--workdir={workdir}").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["serving"], "expected one of export, publish"),
        (["serving", "publsh"], "did you mean 'publish'"),
        (["serving", "publish"], "--workdir"),
        (["serving", "status", "--models=nowhere"], "--server"),
        (["serving", "status", "--models=nowhere", "--server=localhost:1"], "--name: expected a model"),
        (["serving", "publish", "--server=localhost"], "--workdir"),
    ],
)
def test_a_wrong_command_is_one_line(words, expected):
    done = tfpdu(*words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
