"""Publishing to servers that follow the version policy: two pushes, labels, withdrawal, rollback, refusals."""

import json
import shutil
import time

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.serving import tiny
from tests.serving.fake_server import FakeServer
from tests.serving.model_server import ModelServer, until_labelled
from tfpdu.common import UserError, files
from tfpdu.serving.client import Client
from tfpdu.serving.publish import Publisher, PublishSettings
from tfpdu.serving.versions import Repository

QUICK = {"patience": 20.0, "every": 0.01}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Versions 1 (rows a, b), 2 (b) and 3 (b, c), exported and blessed once for all tests."""
    base = tmp_path_factory.mktemp("exported")
    repository = Repository(base, "toy")
    publisher = Publisher(repository, tiny.deletions(), trial=tiny.trial, note=lambda line: None)
    with repository.hold():
        for seed, rows in ((1, ("a", "b")), (2, ("b",)), (3, ("b", "c"))):
            publisher._bless(publisher.export(tiny.release(seed, rows)))
    return base


@pytest.fixture
def repository(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "models")
    (tmp_path / "models" / "toy" / "versions.json").write_text(
        json.dumps(
            files.read_json(exported / "toy" / "versions.json") | {"served_from": str(tmp_path / "models" / "toy")}
        )
    )
    return Repository(tmp_path / "models", "toy")


@pytest.fixture
def server(repository):
    with FakeServer(repository.base / "models.config") as fake:
        yield fake


def publisher(repository, *deleted, servers=(), lines=None, **settings):
    clients = [Client(each, "toy") for each in servers]
    note = (lambda line: None) if lines is None else lines.append
    return Publisher(
        repository, tiny.deletions(*deleted), clients, PublishSettings(**QUICK | settings), tiny.trial, note
    )


def states(repository):
    return {number: version.state for number, version in repository.journal().versions.items()}


def config(repository):
    text = (repository.base / "models.config").read_text()
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config[0]


def loaded(server, *numbers):
    """Whether the server comes to hold these versions and no others; what is retired it drops in its own time."""
    end = time.monotonic() + 20
    while sorted(n for _, n in server.versions) != list(numbers) and time.monotonic() < end:
        time.sleep(0.01)
    return sorted(n for _, n in server.versions) == list(numbers)


def test_a_release_goes_from_weights_to_the_answer_under_stable(repository, server):
    made = tiny.release(1)
    found = publisher(repository, servers=[server.address]).publish(made)
    assert (found.number, found.state) == (1, "published")
    client = Client(server.address, "toy")
    assert client.labelled("stable") == 1
    answer = client.predict(made.examples, label="stable")
    np.testing.assert_allclose(answer.probabilities, made.ensemble.probabilities(made.examples), atol=1e-5)
    assert list(config(repository).model_version_policy.specific.versions) == [1]
    assert dict(config(repository).version_labels) == {"stable": 1}


@pytest.mark.parametrize("kind", [FakeServer, ModelServer], ids=["fake", "real"])
def test_the_round_from_publication_to_withdrawal(repository, kind):
    publisher(repository).publish(tiny.release(1))  # a server starts with a configuration
    with kind(repository.base / "models.config", rpc=True) as server:
        until_labelled(server, "toy", "stable")
        both, patient = [server.address, server.rpc_address], {"patience": 60.0}
        publisher(repository, "a", servers=both, **patient).publish(tiny.release(2, ("b",)))
        assert states(repository)[1] == "withdrawn"
        for client in (Client(each, "toy") for each in both):
            assert client.labelled("stable") == 2
            assert client.status()[1].state == "END"
            made = tiny.release(2)
            found = client.predict(made.examples, label="stable").probabilities
            np.testing.assert_allclose(found, made.ensemble.probabilities(made.examples), atol=1e-5)
            with pytest.raises(UserError):
                client.predict(made.examples, version=1)


def test_the_label_moves_only_to_what_is_loaded(repository, server):
    server._slow = 0.1
    for seed in (1, 2, 3):
        publisher(repository, servers=[server.address]).publish(tiny.release(seed, ("b",)))
    assert server.refusals == []
    assert server.labels == {("toy", "stable"): 3}
    assert states(repository) == {1: "retired", 2: "retired", 3: "published"}
    assert loaded(server, 3)


def test_without_two_pushes_the_server_would_have_refused_the_label(repository, server):
    repository.mark(1, "published")
    repository.label({"stable": 1})
    shutil.move(repository.path(1), repository.base / "elsewhere")
    repository.write_configuration()
    client = Client(server.address, "toy")
    while not server.refusals:
        assert client.labelled("stable") is None
    assert "not available" in server.refusals[0]


def test_a_canary_answers_beside_the_stable_version_until_it_is_promoted(repository, server):
    publisher(repository, servers=[server.address]).publish(tiny.release(1))
    publisher(repository, servers=[server.address]).publish(tiny.release(2, ("b",)), label="canary")
    assert repository.journal().labels == {"stable": 1, "canary": 2}
    assert loaded(server, 1, 2)
    assert publisher(repository, servers=[server.address]).promote() == 2
    assert server.labels == {("toy", "stable"): 2, ("toy", "canary"): 2}
    assert loaded(server, 2)


def test_what_saw_a_deleted_row_is_withdrawn_once_every_server_says_so(repository, server):
    with FakeServer(repository.base / "models.config", rpc=True) as other:
        both = [server.address, other.rpc_address]
        publisher(repository, servers=both).publish(tiny.release(1))
        lines = []
        publisher(repository, "a", servers=both, lines=lines).publish(tiny.release(2, ("b",)))
        assert states(repository) == {1: "withdrawn", 2: "published", 3: "blessed"}
        assert repository.journal().version(1).confirmed == tuple(both)
        assert any("every named server says that it is gone (2)" in line for line in lines)
        assert [Client(each, "toy").status()[1].state for each in both] == ["END", "END"]
        with pytest.raises(UserError, match="Servable not found"):
            Client(server.address, "toy").predict(tiny.release(1).examples, version=1)


def test_a_server_that_keeps_the_version_keeps_it_from_being_called_withdrawn(repository, server):
    with FakeServer(repository.base / "models.config") as other:
        both = [server.address, other.address]
        publisher(repository, servers=both).publish(tiny.release(1))
        publisher(repository, servers=both).publish(tiny.release(2, ("b",)), label="canary")  # loading takes its time
        client = Client(other.address, "toy")
        loaded = other.versions["toy", 1]
        loaded.users += 1  # a request that does not end
        with pytest.raises(UserError, match=rf"{other.address}: did not unload version 1 .*UNLOADING"):
            publisher(repository, "a", servers=both, patience=2).publish(tiny.release(2, ("b",)))
        assert states(repository)[1] == "unlisted"
        assert client.labelled("stable") == 2
        loaded.users -= 1
        publisher(repository, "a", servers=both).publish(tiny.release(2, ("b",)))
        assert states(repository)[1] == "withdrawn"


def test_without_a_server_nothing_is_called_withdrawn(repository):
    publisher(repository).publish(tiny.release(1))
    lines = []
    publisher(repository, "a", lines=lines).publish(tiny.release(2, ("b",)))
    assert states(repository)[1] == "unlisted"
    assert any("withdrawn from the configuration" in line and "no server was asked" in line for line in lines)
    assert list(config(repository).model_version_policy.specific.versions) == [2]


def test_a_rollback_goes_to_the_newest_version_that_saw_no_deleted_row(repository, server):
    for seed, rows in ((1, ("a", "b")), (2, ("b",)), (3, ("b", "c"))):
        publisher(repository, servers=[server.address]).publish(tiny.release(seed, rows))
    assert publisher(repository, "a", servers=[server.address]).rollback() == 2
    assert server.labels == {("toy", "stable"): 2}
    with pytest.raises(UserError, match=r"version 1: was taken off for good \(it learned 1 rows that were deleted"):
        publisher(repository, "a", servers=[server.address]).rollback(1)


@pytest.mark.parametrize("kept", ["journal", "nothing"])
def test_a_copy_under_another_number_does_not_come_back(repository, kept):
    publisher(repository).publish(tiny.release(1))
    publisher(repository).publish(tiny.release(2, ("b",)))
    shutil.copytree(repository.path(1), repository.path(9))
    if kept == "journal":  # somebody edits the journal, too
        text = files.read_json(repository.directory / "versions.json")
        text["versions"]["9"] = text["versions"]["2"]
        files.write_json(repository.directory / "versions.json", text)
    words = "it learned 1 rows" if kept == "journal" else "no such version"
    with pytest.raises(UserError, match=words):
        publisher(repository, "a").rollback(9)
    publisher(repository, "a", erase=True, offline=True).settle()
    assert not repository.path(1).exists()
    assert not repository.path(9).exists()
    assert repository.path(2).exists()


def test_service_mode_erases_what_was_withdrawn_and_not_before(repository, server):
    publisher(repository, servers=[server.address]).publish(tiny.release(1))
    publisher(repository, "a", erase=True).publish(tiny.release(2, ("b",)))
    assert repository.path(1).exists()  # a server may still read it
    publisher(repository, "a", erase=True, servers=[server.address]).publish(tiny.release(2, ("b",)))
    assert not repository.path(1).exists()
    assert repository.journal().version(1).erased
    assert repository.numbers() == [2, 3]
    fresh = publisher(repository, "a", servers=[server.address], erase=True).export(tiny.release(4, ("b",)))
    assert fresh.number == 4  # a number is never used twice


def test_weights_that_learned_a_deleted_row_are_not_exported(repository):
    with pytest.raises(UserError, match="learned 1 deleted rows"):
        publisher(repository, "a").publish(tiny.release(1))


def test_another_run_cannot_take_over_a_model(repository):
    made = tiny.release(1)
    other = publisher(repository)
    other._deletions = type(other._deletions)("another", frozenset())
    with pytest.raises(UserError, match="another run"):
        other.export(made)
    with pytest.raises(UserError, match="another run"):
        other.rollback(1)


def test_a_version_that_was_changed_is_not_published(repository):
    with open(repository.path(1) / "saved_model.pb", "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"saved_model.pb: was changed since it was exported"):
        publisher(repository).publish(tiny.release(1))


def test_a_version_that_fails_its_trial_is_never_listed(repository):
    def failing(version):
        raise UserError(f"{version}: differs")

    publishing = publisher(repository)
    publishing._trial = failing
    with pytest.raises(UserError, match="differs"):
        publishing.publish(tiny.release(5))
    assert states(repository)[4] == "exported"
    with pytest.raises(UserError, match="was not tried yet"):
        publishing.rollback(4)
    assert not (repository.base / "models.config").exists()


def test_a_version_with_a_label_is_not_withdrawn_from_under_it(repository):
    publisher(repository).publish(tiny.release(1))
    with pytest.raises(UserError, match="version=1: is stable"):
        publisher(repository).withdraw(1, "wrong")
    publisher(repository).publish(tiny.release(2, ("b",)))
    publisher(repository, offline=True).withdraw(1, "wrong classes")
    assert (states(repository)[1], repository.journal().version(1).reason) == ("withdrawn", "wrong classes")
    with pytest.raises(UserError, match=r"taken off for good \(wrong classes"):
        publisher(repository).rollback(1)


def test_a_canary_is_withdrawn_with_its_label(repository, server):
    publisher(repository, servers=[server.address]).publish(tiny.release(1))
    publisher(repository, servers=[server.address]).publish(tiny.release(2, ("b",)), label="canary")
    publisher(repository, servers=[server.address]).withdraw(2, "too slow")
    assert repository.journal().labels == {"stable": 1}
    assert states(repository)[2] == "withdrawn"
    assert Client(server.address, "toy").labelled("canary") is None
    with pytest.raises(UserError, match="no version of toy is the canary"):
        publisher(repository).promote()


@pytest.mark.parametrize("settings", [{"offline": True}, {"reload": True}])
def test_settings_that_do_not_go_with_the_servers_are_refused_at_once(repository, settings):
    with pytest.raises(UserError, match=f"--{next(iter(settings))}: "):
        publisher(repository, servers=["localhost:1"], **settings)


def test_publishing_twice_changes_nothing(repository, server):
    publisher(repository, servers=[server.address]).publish(tiny.release(1))
    before = (repository.directory / "versions.json").read_text(), (repository.base / "models.config").read_text()
    assert publisher(repository, servers=[server.address]).publish(tiny.release(1)).number == 1
    after = (repository.directory / "versions.json").read_text(), (repository.base / "models.config").read_text()
    assert before == after


def test_a_server_that_does_not_follow_is_named_and_the_old_version_stays(repository, server):
    publisher(repository, servers=[server.address]).publish(tiny.release(1))
    server._poll = 60  # it does not look any more
    server._stop.set()
    with pytest.raises(
        UserError, match=rf"{server.address}: did not load version 2 of toy in 0.1 s .it knows no version 2"
    ):
        publisher(repository, servers=[server.address], patience=0.1).publish(tiny.release(2, ("b",)))
    assert repository.journal().labels == {"stable": 1}


def test_a_configuration_can_be_handed_over_by_grpc(repository):
    with FakeServer(repository.base / "models.config", poll=None, rpc=True) as fake:
        publisher(repository, servers=[fake.rpc_address], reload=True).publish(tiny.release(1))
        assert fake.labels == {("toy", "stable"): 1}
        publisher(repository, "a", servers=[fake.rpc_address], reload=True).publish(tiny.release(2, ("b",)))
        assert states(repository)[1] == "withdrawn"


def test_models_of_one_directory_keep_out_of_each_others_way(repository):
    publisher(repository).publish(tiny.release(1))
    other = Repository(repository.base, "second", "/models")
    Publisher(other, tiny.deletions(), trial=tiny.trial, note=lambda line: None).publish(tiny.release(7))
    parsed = text_format.Parse(
        (repository.base / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    assert [(m.name, m.base_path) for m in parsed.model_config_list.config] == [
        ("second", "/models/second"),
        ("toy", str(repository.directory)),
    ]
