"""Models of any make: pixels as they want them, answers as they are, and one line for what cannot be audited."""

import keras
import numpy as np
import pytest

from tfpdu.audit import AuditSettings, MembershipAudit, audit_rows, new_attack
from tfpdu.audit.models import AuditedModel, load_model
from tfpdu.audit.subject import accuracy_on, subject_of_model
from tfpdu.common import UserError
from tfpdu.data.records import Records
from tfpdu.data.views import ViewPolicy

POLICY = ViewPolicy(2, False, 1)


def images(n=5, seed=0, side=6):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 1), np.uint8)


def network(units=3, hidden=0, activation=None):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 6, 1)), keras.layers.Flatten()]
    layers += [keras.layers.Rescaling(1 / 255), keras.layers.Dense(hidden, "relu")] if hidden else []
    return keras.Sequential([*layers, keras.layers.Dense(units, activation)])


def records(n, prefix, seed, classes=3):
    return Records(
        images=images(n, seed),
        labels=np.random.default_rng(seed).integers(0, classes, n).astype(np.int32),
        attributes=np.zeros((n, 0), np.int8),
        ids=np.array([f"{prefix}/{i:04d}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(),
        label_names=tuple(map(str, range(classes))),
    )


def echo(kind):
    """A model that answers with what it was given: the first pixel and its complement to 255."""

    def forward(block):
        kind.append((block.dtype, float(block.max())))
        first = block[:, 0, 0, 0].astype(np.float64)
        return np.stack([first, 0 * first], 1)

    return forward


@pytest.mark.parametrize(
    ("pixels", "dtype", "scale"), [("0..255", np.float32, 1), ("0..1", np.float32, 1 / 255), ("uint8", np.uint8, 1)]
)
def test_pixels_come_as_the_flag_says(pixels, dtype, scale):
    seen: list = []
    picture = np.full((2, 6, 6, 1), 20, np.uint8)
    model = AuditedModel(echo(seen), pixels=pixels, answers="logits")
    p = model.probabilities(picture)
    assert seen == [(dtype, pytest.approx(20 * scale))]
    assert p[0, 1] == pytest.approx(1 / (1 + np.exp(20 * scale)))


def test_rows_are_asked_in_batches_of_one_size_and_padding_is_cut_off():
    sizes: list = []

    def forward(block):
        sizes.append(len(block))
        return np.stack([block[:, 0, 0, 0], 0 * block[:, 0, 0, 0]], 1)

    picture = images(10)
    whole = AuditedModel(forward, batch=100, answers="logits").probabilities(picture)
    parts = AuditedModel(forward, batch=4, answers="logits").probabilities(picture)
    assert sizes == [10, 4, 4, 4]
    assert np.array_equal(whole, parts)


@pytest.mark.parametrize(("activation", "kind"), [(None, "logits"), ("softmax", "probabilities")])
def test_a_keras_file_and_its_saved_model_answer_as_the_model_does(tmp_path, activation, kind):
    model = network(activation=activation)
    model.save(tmp_path / "my.keras")
    model.export(tmp_path / "saved", verbose=False)
    x = images(7)
    answers = keras.ops.convert_to_numpy(model(x.astype(np.float32)))
    expected = answers if activation else keras.ops.convert_to_numpy(keras.ops.softmax(answers))
    for name in ("my.keras", "saved"):
        loaded = load_model(str(tmp_path / name), batch=4)
        assert loaded.probabilities(x) == pytest.approx(expected, abs=1e-5)
        assert loaded.answers == kind
        assert loaded.classes == 3
        assert loaded.input_shape == (6, 6, 1)


def constant(answers):
    return AuditedModel(lambda block: np.tile(answers, (len(block), 1)), title="--model=m")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (constant([0.2, np.nan]), "NaN"),
        (constant([0.7]), "at least 2 classes"),
        (AuditedModel(lambda b: np.tile([0.5, 0.1], (len(b), 1)), answers="probabilities"), "are these logits"),
        (AuditedModel(lambda b: np.tile([0.5, 0.5], (len(b), 1)), answers="logits"), "are these probabilities"),
        (AuditedModel(lambda b: b @ np.ones(9)), r"refuses pictures \[5, 6, 6, 1\]"),
    ],
)
def test_answers_that_are_not_what_they_should_be_are_refused(model, words):
    with pytest.raises(UserError, match=words) as error:
        model.probabilities(images())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("my.keras", b"no archive", "not a Keras model"),
        ("none.keras", None, "no such file"),
        ("folder", "directory", "without saved_model.pb"),
        ("tests.audit.test_models:nothing", None, "no model comes from"),
        ("nowhere.at_all:model", None, "no model comes from"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, name, content, words):
    path = tmp_path / name
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_model(name if ":" in name else str(path))


def model_of_function():
    return lambda block: np.stack([block[:, 0, 0, 0], 0 * block[:, 0, 0, 0]], 1)


def test_a_function_may_make_the_model():
    assert load_model("tests.audit.test_models:model_of_function").probabilities(images(3)).shape == (3, 2)


def test_pictures_of_another_size_are_refused_by_name(tmp_path):
    network().save(tmp_path / "my.keras")
    with pytest.raises(UserError, match=r"pictures are 8x8x1, .* takes 6x6x1; see --image_size"):
        load_model(str(tmp_path / "my.keras")).check_shape((8, 8, 1))


# ---- one's own attack ------------------------------------------------------------------------


class MaxProbability:
    name = "max_probability"

    def fit(self, members, nonmembers, seed):
        pass

    def score(self, signals):
        return signals.probabilities.max(axis=1)


class Named(MaxProbability):
    name = "m_loss"


def broken():
    raise ValueError("no such thing")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.at_all:Attack", "cannot be imported"),
        ("tests.audit.test_models:MaxProbabilty", "did you mean 'MaxProbability'"),
        ("tests.audit.test_models:broken", "cannot be made without arguments .ValueError: no such thing"),
        ("tests.audit.test_models:dict", "no function 'dict'"),
        ("tests.audit.test_models:Records", "cannot be made without arguments"),
        ("collections:Counter", "expected a name, fit and score"),
        ("tests.audit.test_models:Named", "'m_loss', which is taken"),
    ],
)
def test_what_is_no_attack_is_refused(name, words):
    with pytest.raises(UserError, match=words):
        new_attack(name)


def test_ones_own_attack_joins_under_its_own_name():
    model = AuditedModel(network().__call__)
    subject = subject_of_model(model, records(80, "in", 1), records(80, "out", 2), policy=POLICY)
    settings = AuditSettings(attacks=("blind", "tests.audit.test_models:MaxProbability"))
    outcomes, signals = subject.attack(settings, note=lambda line: None)
    rows = audit_rows(outcomes, settings)
    assert [row["attack"] for row in rows] == ["blind", "max_probability"]
    assert rows[1]["p_holm"] > 0.01
    right = signals.probabilities.argmax(1) == signals.labels
    inside = np.char.startswith(signals.ids, "in/")
    assert accuracy_on(signals, subject.populations["members"]) == pytest.approx(right[inside].mean())


# ---- while training --------------------------------------------------------------------------


def test_the_callback_sees_a_model_learn_its_rows_by_heart(tmp_path):
    x, y = images(300, 5), np.random.default_rng(5).integers(0, 3, 300)
    audit = MembershipAudit(
        (x[:150], y[:150, None]), (x[150:], y[150:]), every=20, attacks=("m_loss",), policy=POLICY, log_dir=tmp_path
    )
    model = network(hidden=64)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(x[:150], y[:150], epochs=50, verbose=0, callbacks=[audit]).history
    assert len(history["loss"]) == 50
    aucs = history["audit_m_loss_auc"]
    assert len(aucs) == len(history["audit_m_loss_success"]) == 3  # epochs 20, 40 and the last
    assert aucs[-1] > 0.75
    assert audit.rows[0]["auc"] == aucs[-1]
    assert audit.rows[0]["iteration"] == 49
    assert written_scalars(tmp_path) == {
        ("audit/m_loss/auc", step): pytest.approx(value) for step, value in zip((19, 39, 49), aucs, strict=True)
    } | {
        ("audit/m_loss/success", step): pytest.approx(value)
        for step, value in zip((19, 39, 49), history["audit_m_loss_success"], strict=True)
    }


def written_scalars(directory):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    (path,) = directory.glob("events.*")
    return {
        (value.tag, event.step): float(tensor_util.make_ndarray(value.tensor))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }


def test_the_callback_audits_a_training_that_was_stopped_before_its_time():
    x, y = images(120, 6), np.random.default_rng(6).integers(0, 3, 120)
    audit = MembershipAudit((x[:60], y[:60]), (x[60:], y[60:]), every=100, policy=POLICY)
    model = network()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", True))
    model.fit(x[:60], y[:60], epochs=5, verbose=0, callbacks=[stop, audit])
    assert audit.rows[0]["iteration"] == 0


def test_the_callback_refuses_attacks_that_need_more_and_labels_beyond_the_model():
    side = images(40), np.arange(40) % 4
    with pytest.raises(UserError, match="lira_offline: needs references"):
        MembershipAudit(side, side, attacks=("lira_offline",))
    with pytest.raises(UserError, match="expected labels int"):
        MembershipAudit(side, (images(40), np.zeros(3, int)))
    audit = MembershipAudit(side, (images(40, 1), np.arange(40) % 4))
    audit.set_model(network())
    with pytest.raises(UserError, match="3 classes, labels go up to 3"):
        audit.on_epoch_end(0, {})
