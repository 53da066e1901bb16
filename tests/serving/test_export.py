"""What lies in a version: whole, without originals, in files that the server's own protocols parse."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tests.serving import tiny
from tfpdu.common import UserError, files
from tfpdu.serving import trial
from tfpdu.serving.configuration import ServedModel, batching_config, models_config, monitoring_config
from tfpdu.serving.export import damage, export, lineage

AUDIT = [{"attack": "m_loss", "protocol": "holdout", "population": "all_originals", "auc": 0.5, "scores": "left out"}]


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return export(tiny.release(1, audit=AUDIT), tmp_path_factory.mktemp("models") / "toy" / "1", "toy")


def test_a_version_holds_graph_golden_answers_warm_up_lineage_and_audit(version):
    there = sorted(str(path.relative_to(version)) for path in version.rglob("*") if path.is_file())
    assert [name for name in there if not name.startswith("variables/")] == [
        "assets.extra/audit.json",
        "assets.extra/files.json",
        "assets.extra/golden.json",
        "assets.extra/golden.npz",
        "assets.extra/lineage.json",
        "assets.extra/tf_serving_warmup_requests",
        "fingerprint.pb",
        "saved_model.pb",
    ]
    assert list(version.parent.iterdir()) == [version]
    assert damage(version) is None
    assert lineage(version)["rows"] == ["a", "b"]
    assert lineage(version)["identity"] == tiny.release(1).identity
    assert "left out" not in (version / "assets.extra" / "audit.json").read_text()


def test_golden_answers_are_the_keras_ensembles(version):
    golden = files.read_npz(version / "assets.extra" / "golden.npz")
    made = tiny.release(1)
    np.testing.assert_array_equal(golden["images"], made.examples)
    np.testing.assert_array_equal(golden["probabilities"], made.ensemble.probabilities(made.examples))


def test_warm_up_requests_are_of_both_signatures_and_every_batch_size(version):
    path = str(version / "assets.extra" / "tf_serving_warmup_requests")
    logs = [prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(path)]
    found = []
    loaded = tf.saved_model.load(str(version))
    for log in logs:
        request = log.predict_log.request
        assert request.model_spec.name == "toy"
        ((name, value),) = request.inputs.items()
        inputs = tf.make_ndarray(value)
        found.append((request.model_spec.signature_name, name, len(inputs)))
        answer = loaded.signatures[request.model_spec.signature_name](**{name: tf.constant(inputs)})
        assert answer["probabilities"].shape == (len(inputs), 3)
    sizes = (1, 8, 64)
    assert sorted(found) == sorted(
        [("serving_default", "images", n) for n in sizes] + [("serving_bytes", "image_bytes", n) for n in sizes]
    )


def test_a_stranger_process_gives_the_golden_answers(version):
    """A fresh process with TensorFlow and without tfpdu: both signatures, batches of 1, 7 and 64, every warm-up."""
    found = trial.try_out(version)
    assert set(found["differences"]) == {f"serving_{s}, {n}" for s in ("default", "bytes") for n in (1, 7, 64)}
    assert max(found["differences"].values()) <= 1e-5
    assert (found["warmup"], found["strangers"], found["tolerance"]) == (6, [], 1e-5)


@pytest.mark.slow
def test_the_command_of_saved_models_runs_it(version, tmp_path):
    np.save(tmp_path / "images.npy", tiny.release(1).examples)
    command = "from tensorflow.python.tools.saved_model_cli import main; main()"
    flags = ["--dir", str(version), "--tag_set", "serve", "--signature_def", "serving_default"]
    flags += ["--inputs", f"images={tmp_path / 'images.npy'}", "--outdir", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", command, "run", *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = tiny.release(1)
    np.testing.assert_allclose(
        np.load(tmp_path / "probabilities.npy"), made.ensemble.probabilities(made.examples), atol=1e-5
    )


def test_a_trial_finds_answers_that_are_not_the_golden_ones(version):
    found = tiny.fresh_process.replay(str(version))
    worse = {**found, "strangers": [], "differences": {"serving_bytes, 7": 2e-5, "serving_default, 1": 0.0}}
    with pytest.raises(UserError, match=r"serving_bytes, 7 at once: differs by 2e-05 from the golden answers"):
        trial.checked(version, worse)
    with pytest.raises(UserError, match="differs by nan"):
        trial.checked(version, {**worse, "differences": {"serving_bytes, 7": float("nan")}})
    with pytest.raises(UserError, match=r"imports tfpdu\.ensemble, which a server does not have"):
        trial.checked(version, {**found, "strangers": ["tfpdu.ensemble"]})
    with pytest.raises(UserError, match="does not answer in a fresh process: OpError: no"):
        trial.checked(version, {"error": "OpError: no"})


def test_a_version_is_never_overwritten(version):
    with pytest.raises(UserError, match="exists; a version is never overwritten"):
        export(tiny.release(2), version, "toy")


@pytest.mark.parametrize("what", ["changed", "missing", "added"])
def test_every_file_of_a_version_is_vouched_for(version, tmp_path, what):
    import shutil

    copy = tmp_path / "1"
    shutil.copytree(version, copy)
    path = copy / "assets.extra" / ("extra.txt" if what == "added" else "golden.json")
    path.unlink() if what == "missing" else path.write_text("{}")
    assert str(path) in damage(copy)
    assert what in damage(copy)


def test_on_storage_without_renaming_the_graph_comes_last(tmp_path, monkeypatch):
    import shutil

    copied = []
    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda a, b: (copied.append(b.name), copy(a, b)))
    monkeypatch.setattr("os.rename", None)
    made = export(tiny.release(1), tmp_path / "toy" / "1", "toy", atomic=False)
    assert copied[-1] == "saved_model.pb"
    assert len(copied) == 9 + 1
    assert damage(made) is None


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tfpdu.serving.export.write_warmup", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(tiny.release(1), tmp_path / "toy" / "1", "toy")
    assert list((tmp_path / "toy").iterdir()) == []


# ---- configuration -------------------------------------------------------------------------------


def test_models_config_parses_as_the_servers_own_message():
    models = [
        ServedModel("digits", "/models/digits", (4, 3), {"stable": 3, "canary": 4}),
        ServedModel("faces", 'C:\\a "b"', (1,), {}),
    ]
    parsed = text_format.Parse(models_config(models), model_server_config_pb2.ModelServerConfig())
    digits, faces = parsed.model_config_list.config
    assert (digits.name, digits.base_path, digits.model_platform) == ("digits", "/models/digits", "tensorflow")
    assert list(digits.model_version_policy.specific.versions) == [3, 4]
    assert dict(digits.version_labels) == {"stable": 3, "canary": 4}
    assert faces.base_path == 'C:\\a "b"'
    nothing = text_format.Parse(models_config([]), model_server_config_pb2.ModelServerConfig())
    assert nothing.WhichOneof("config") == "model_config_list"


def message(name, **messages):
    """A message class of fields {name: (number, type, label)}, as the server's .proto files have them.

    tensorflow-serving-api ships neither session_bundle_config.proto nor monitoring_config.proto.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="tried", syntax="proto3")
    for title, fields in messages.items():
        described = file.message_type.add(name=title)
        for key, (number, kind, label) in fields.items():
            field = described.field.add(name=key, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = 11, f".tried.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tried.{name}"))()


def test_batching_and_monitoring_parse_as_the_servers_messages():
    wrapped = {
        name: (number, "Int64Value", 1)
        for number, name in enumerate(
            ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"), 1
        )
    }
    wrapped["allowed_batch_sizes"] = (6, 3, 3)
    parameters = message("BatchingParameters", Int64Value={"value": (1, 3, 1)}, BatchingParameters=wrapped)
    text_format.Parse(batching_config(2), parameters)
    assert parameters.num_batch_threads.value == 2
    assert list(parameters.allowed_batch_sizes) == [1, 8, 64]
    assert parameters.allowed_batch_sizes[-1] == parameters.max_batch_size.value  # the server insists
    prometheus = {"enable": (1, 8, 1), "path": (2, 9, 1)}
    monitoring = message(
        "MonitoringConfig",
        PrometheusConfig=prometheus,
        MonitoringConfig={"prometheus_config": (1, "PrometheusConfig", 1)},
    )
    text_format.Parse(monitoring_config(), monitoring)
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"
