"""The client by REST and by gRPC: the same answers, and one line where something is wrong."""

import socket

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import tiny
from tests.serving.fake_server import FakeServer
from tests.serving.model_server import ModelServer, until_labelled
from tfpdu.common import UserError
from tfpdu.serving import Client
from tfpdu.serving.check import compare, measure
from tfpdu.serving.publish import Publisher
from tfpdu.serving.versions import Repository

DOORS = ("address", "rpc_address")


@pytest.fixture(scope="module", params=[FakeServer, ModelServer], ids=["fake", "real"])
def served(request, tmp_path_factory):
    """A server with version 1, stable, with votes, and version 2, canary; and their repository."""
    if request.param is ModelServer:
        ModelServer.require()
    repository = Repository(tmp_path_factory.mktemp("models"), "toy")
    publisher = Publisher(repository, tiny.deletions(), trial=tiny.trial, note=lambda line: None)
    with repository.hold():
        publisher.publish(tiny.release(1, member_votes=True))
        publisher.publish(tiny.release(2), "canary")
    with request.param(repository.base / "models.config", rpc=True) as server:
        until_labelled(server, "toy", "stable", "canary")
        yield server, repository


@pytest.fixture(params=DOORS)
def client(served, request):
    return Client(getattr(served[0], request.param), "toy")


def test_both_doors_give_the_ensembles_answer(client):
    made = tiny.release(1)
    expected = made.ensemble.probabilities(made.examples)
    encoded = [tf.io.encode_png(image).numpy() for image in made.examples]
    for answer in (
        client.predict(made.examples, label="stable"),
        client.predict(image_bytes=encoded, version=1),
    ):
        np.testing.assert_allclose(answer.probabilities, expected, atol=1e-5)
        np.testing.assert_array_equal(answer.class_id, expected.argmax(1))
        assert answer.class_name == tuple(tiny.NAMES[i] for i in expected.argmax(1))
        np.testing.assert_array_equal(answer.member_votes, made.ensemble.shard_probabilities(made.examples).argmax(2).T)
    newest = client.predict(made.examples)
    assert newest.member_votes is None
    np.testing.assert_allclose(newest.probabilities, tiny.release(2).ensemble.probabilities(made.examples), atol=1e-5)


def test_both_doors_tell_of_versions_labels_and_signatures(client):
    assert {number: status.state for number, status in client.status().items()} == {1: "AVAILABLE", 2: "AVAILABLE"}
    assert (client.labelled("stable"), client.labelled("canary"), client.labelled("other")) == (1, 2, None)
    described = client.metadata(label="stable")
    assert described["serving_default"]["inputs"] == {"images": "uint8"}
    assert described["serving_bytes"]["inputs"] == {"image_bytes": "string"}
    assert described["serving_default"]["outputs"] == {
        "probabilities": "float32",
        "class_id": "int64",
        "class_name": "string",
        "member_votes": "int64",
    }


def refusal(ask):
    with pytest.raises(UserError) as caught:
        ask()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_the_model_refuses_comes_back_as_one_line_and_the_server_lives_on(client):
    good = tiny.release(1).examples
    wrong = {
        "expected uint8 [n, 4, 4, 1], got": lambda: client.predict(np.zeros((1, 5, 4, 1), np.uint8)),
        "expected 1 to 1024 pictures": lambda: client.predict(np.zeros((1025, 4, 4, 1), np.uint8)),
        "expected an encoded JPEG or PNG": lambda: client.predict(image_bytes=[b"nothing"]),
        "serving_other": lambda: client.call("serving_other", {"images": good}),
        "": lambda: client.call("serving_default", {"pictures": good}),
        "Servable not found": lambda: client.predict(good, version=9),
        "label": lambda: client.predict(good, label="other"),
    }
    for words, ask in wrong.items():
        text = refusal(ask)
        assert words in text
        assert text.startswith(client.server)
        assert len(client.predict(good).class_id) == len(good)


def test_a_wrong_dtype_is_refused_before_it_is_sent(client):
    assert "expected uint8 [n, h, w, c], got float32" in refusal(lambda: client.predict(np.zeros((1, 4, 4, 1), "f4")))
    assert "expected images or image_bytes" in refusal(client.predict)
    assert "a version or a label" in refusal(lambda: client.predict(tiny.release(1).examples, version=1, label="a"))


def test_a_model_that_is_not_there_has_no_versions(served):
    for door in DOORS:
        assert Client(getattr(served[0], door), "other").status() == {}


@pytest.mark.parametrize("scheme", ["", "grpc://"])
def test_a_server_that_is_not_there_is_named(scheme):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
    assert refusal(lambda: Client(address, "toy", timeout=2).status()).startswith(address)


@pytest.mark.parametrize("address", ["", "localhost", "ftp://localhost:1", "://x:1"])
def test_an_address_has_to_be_one(address):
    assert "--server=" in refusal(lambda: Client(address, "toy") and None)


def test_a_check_compares_with_the_golden_answers_and_measures(served):
    server, repository = served
    client = Client(server.address, "toy")
    found = compare(client, 1, repository.path(1))
    assert found["holds"]
    assert max(found["signatures"].values()) < 1e-5
    assert not compare(client, 2, repository.path(1))["holds"]  # other weights
    rows = measure(client, tiny.release(1).examples, (1, 8), requests=5, clients=2)
    assert [row["batch"] for row in rows] == [1, 8]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] for row in rows)
    assert all(row["images_per_second"] > 0 for row in rows)
