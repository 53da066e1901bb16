"""The executor for Ray with a stand-in for Ray: what it does with parcels, lost workers, faults and stops."""

import contextlib
import dataclasses
import importlib.util
import os
import pickle
import signal
import sys

import numpy as np
import pytest
import ray

from tests.ensemble import tiny
from tests.unlearning import test_exact
from tests.unlearning.test_exact import SHARD, TABLE, bits, everything, without
from tfpdu.common import StopRequested, UserError, files, interrupt
from tfpdu.common.determinism import fingerprint
from tfpdu.ensemble import build_resnet18
from tfpdu.ensemble.weights import save_weights
from tfpdu.unlearning import ray_executor
from tfpdu.unlearning.executors import SerialExecutor, executor_of
from tfpdu.unlearning.ray_executor import RayExecutor

SLICE = np.minimum(test_exact.SLICE, 1)
SLICED = tiny.settings(slices=2, epochs=3)  # 2 epochs a slice; parcels: hello, 2 epochs, a slice, 2 epochs, a slice
LOST = ray.exceptions.WorkerCrashedError()


class StandIn:
    """Ray in one process: a task is done when it is submitted, and all that it gets or gives is pickled.

    Args:
      deaths: for each submitted task in turn, how many parcels it leaves before its worker dies; None: it lives.
      stop: after so many parcels a signal comes.
      gpus: of the only machine.
    """

    exceptions, util, __spec__, _raylet = ray.exceptions, ray.util, ray.__spec__, ray._raylet

    def __init__(self, deaths=(), stop=None, gpus=0):
        self.deaths, self.stop, self.gpus = list(deaths), stop, gpus
        self.tasks, self.parcels, self.options = 0, 0, None

    def is_initialized(self):
        return True

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 2.0, "GPU": float(self.gpus)}}]

    def get_runtime_context(self):
        return self

    def get_node_id(self):
        return "0" * 56

    def put(self, value):
        return pickle.dumps(value)

    def get(self, value):
        if isinstance(value, Outcome) and value.error is not None:
            raise value.error
        return value

    def wait(self, tasks, timeout):
        if self.stop is not None and self.parcels >= self.stop:
            os.kill(os.getpid(), signal.SIGTERM)
            self.stop = None
        return tasks, []

    def kill(self, board):
        pass

    def cancel(self, task):
        pass

    def remote(self, thing):
        return Remote(self, thing)


class Remote:
    def __init__(self, stand_in, thing):
        self.stand_in, self.thing = stand_in, thing

    def options(self, **options):
        self.stand_in.options = options
        return self

    def remote(self, *arguments):
        if isinstance(self.thing, type):
            return Handle(self.thing())
        death = self.stand_in.deaths[self.stand_in.tasks] if self.stand_in.tasks < len(self.stand_in.deaths) else None
        self.stand_in.tasks += 1
        job, luggage, board = arguments
        return Outcome(lambda: self.thing(pickle.loads(job), luggage, Worker(self.stand_in, board, death)))


class Outcome:
    def __init__(self, work):
        self.error = None
        try:
            work()
        except ray.exceptions.RayError as error:
            self.error = error
        except Exception as error:
            self.error = ray.exceptions.RayTaskError("_train", "trace", error)


class Handle:
    """An actor: `actor.method.remote(...)` calls it at once."""

    def __init__(self, actor):
        self.actor = actor

    def __getattr__(self, name):
        method = getattr(self.actor, name)
        return type("Method", (), {"remote": staticmethod(lambda *arguments: method(*arguments))})


class Worker(Handle):
    """The board as a worker sees it, which may die after some parcels."""

    def __init__(self, stand_in, board, parcels):
        super().__init__(board.actor)
        self.stand_in, self.parcels = stand_in, parcels

    def __getattr__(self, name):
        if self.parcels == 0:
            raise LOST
        if self.parcels:
            self.parcels -= 1
        self.stand_in.parcels += 1
        if self.stand_in.parcels == self.stand_in.stop:
            self.actor.stop()
        return super().__getattr__(name)


def learner(directory, ensemble=SLICED, **changes):
    return test_exact.learner(directory, ensemble, **changes)


def learn(model, rows=slice(None)):
    return model.learn(TABLE.take(np.arange(33)[rows]), SHARD[rows], SLICE[rows])


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """A serial run: its answer and its files."""
    directory = tmp_path_factory.mktemp("serial")
    return learn(learner(directory)), everything(directory)


@pytest.fixture
def with_ray(monkeypatch):
    """Installs a stand-in; gives it back, and a learner that uses it."""

    def install(directory, stand_in, ensemble=SLICED, **changes):
        monkeypatch.setitem(sys.modules, "ray", stand_in)
        monkeypatch.setattr(ray_executor, "_connected", lambda address: stand_in)
        return learner(directory, dataclasses.replace(ensemble, executor="ray"), **changes)

    return install


def test_files_and_bits_are_those_of_a_serial_run(tmp_path, with_ray, serial):
    model = with_ray(tmp_path / "ray", StandIn())
    a, b = learn(model), serial[0]
    assert bits(a) == bits(b)
    assert (a.keys, a.retrained, a.row_epochs) == (b.keys, b.retrained, b.row_epochs)
    assert everything(tmp_path / "ray") == serial[1]
    assert len(list((tmp_path / "ray" / "shards").glob("*/*"))) == 8  # two shards, two slices, weights and note
    row = int(np.flatnonzero((SHARD == 0) & (SLICE == 1))[0])
    assert bits(learn(model, without(row))) == bits(learn(learner(tmp_path / "b"), without(row)))
    assert everything(tmp_path / "ray") == everything(tmp_path / "b")


@pytest.mark.parametrize("parcels", [0, 2, 4])
def test_a_lost_worker_costs_time_and_no_result(tmp_path, with_ray, serial, parcels, monkeypatch):
    stand_in, starts = StandIn(deaths=[parcels, None, min(parcels, 1)]), []
    real = ray_executor._luggage
    monkeypatch.setattr(ray_executor, "_luggage", lambda job: starts.append(job.done()) or real(job))
    assert bits(learn(with_ray(tmp_path, stand_in))) == bits(serial[0])
    assert everything(tmp_path) == serial[1]
    # Two shards, of which one was given on twice, from the last slice that had arrived.
    assert starts == [0, 0, *([1, 1] if parcels == 4 else [0, 0])]


def test_after_four_lost_workers_the_run_ends_with_one_line(tmp_path, with_ray):
    stand_in = StandIn(deaths=[0] * 20)
    with pytest.raises(UserError, match=r"shard \d lost its worker 4 times \(The worker died.*goes on from"):
        learn(with_ray(tmp_path, stand_in))
    assert stand_in.tasks <= 8


def test_a_fault_of_the_users_in_a_worker_is_said_as_it_is_here(tmp_path, with_ray):
    wild = dataclasses.replace(SLICED, learning_rate=1e30)
    with pytest.raises(UserError, match=r"^ensemble.learning_rate=1e[+]30: the loss is .* choose a smaller rate$"):
        learn(with_ray(tmp_path, StandIn(), wild))


def test_a_parcel_that_comes_late_changes_nothing(tmp_path, with_ray):
    a = learn(with_ray(tmp_path, StandIn()))
    before = everything(tmp_path)
    jobs = []
    model = learner(tmp_path, executor=type("Keeps", (), {"run": lambda self, given: jobs.extend(given)})())
    for path in (tmp_path / "shards" / "0").glob(f"{a.keys[0]}.weights.h5"):
        path.unlink()
    with contextlib.suppress(UserError):
        learn(model)
    (job,) = jobs
    watch = ray_executor._Watch(StandIn(), jobs, ray_executor.Progress("", 1))
    late = {job.partial(0).name: b"late", job.note(0).name: b"late", job.weights_file(0).name: b"late"}
    watch._file(job.shard, 5, "", "a processor", late)
    left = everything(tmp_path)
    assert left == {name: digest for name, digest in before.items() if a.keys[0] not in name}
    assert not list(tmp_path.rglob("*.partial.npz"))
    watch._file(job.shard, 5, "", "a processor", {job.partial(1).name: b"unfinished"})
    assert job.partial(1).read_bytes() == b"unfinished"


@pytest.mark.parametrize(("parcels", "resume"), [(1, "ray"), (2, "ray"), (5, "serial")])
def test_stopped_it_goes_on_with_either_executor_and_ends_the_same(tmp_path, with_ray, serial, parcels, resume):
    with interrupt.deferred(), pytest.raises(StopRequested, match="SIGTERM"):
        learn(with_ray(tmp_path / "run", StandIn(stop=parcels)))
    model = with_ray(tmp_path / "run", StandIn()) if resume == "ray" else learner(tmp_path / "run")
    assert bits(learn(model)) == bits(serial[0])
    assert everything(tmp_path / "run") == serial[1]
    assert not list(tmp_path.rglob("*.partial.npz"))


def test_stopped_within_a_slice_the_epochs_so_far_come_home(tmp_path, with_ray):
    with interrupt.deferred(), pytest.raises(StopRequested):
        learn(with_ray(tmp_path, StandIn(stop=2)))  # the greeting and the first epoch
    (partial,) = tmp_path.rglob("*.partial.npz")
    assert files.read_npz(partial)["epoch"] == 1
    epochs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_executor.Progress, "advance", lambda self, units, note: epochs.append(units))
        learned = learn(with_ray(tmp_path, StandIn()))
    assert sum(epochs) == learned.row_epochs - int(((int(partial.parent.name) == SHARD) & (SLICE == 0)).sum())


def test_a_worker_that_ends_early_is_no_worker_that_is_done(tmp_path, with_ray, serial, monkeypatch):
    """As when its machine is taken away with a polite signal."""
    real, calls = ray_executor.train_shard, []

    def polite(job, on_epoch, on_slice):
        calls.append(job.shard)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        real(job, on_epoch, on_slice)

    monkeypatch.setattr(ray_executor, "train_shard", polite)
    assert bits(learn(with_ray(tmp_path, StandIn()))) == bits(serial[0])
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [("device", "gpu NVIDIA H200"), ("onednn", False), ("replicas", 2), ("tensorflow", "2.21.0"), ("tfpdu", "0.0")],
)
def test_a_worker_that_computes_otherwise_is_refused_in_one_line(tmp_path, with_ray, monkeypatch, field, value):
    model = with_ray(tmp_path, StandIn(gpus=2))
    real = model._job

    def elsewhere(*arguments):
        job = real(*arguments)
        process = {**job.training.process, field: value}
        return dataclasses.replace(job, training=dataclasses.replace(job.training, process=process))

    monkeypatch.setattr(model, "_job", elsewhere)
    with pytest.raises(UserError, match=rf"^config.ensemble.executor=ray: {field} is .* on .* and {value!r} where"):
        learn(model)
    assert not list(tmp_path.rglob("*.h5"))


def test_a_task_gets_the_processors_and_gpus_of_this_process(with_ray, tmp_path):
    stand_in = StandIn()
    model = with_ray(tmp_path, stand_in)
    learn(model)
    assert stand_in.options["num_cpus"] == 2
    assert stand_in.options["num_gpus"] == 0
    environment = stand_in.options["runtime_env"]["env_vars"]
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert environment["TF_ENABLE_ONEDNN_OPTS"] == str(int(fingerprint()["onednn"]))
    job = model._job(0, ["key"], tiny.rows(tiny.records(3)), np.arange(3), np.zeros(3, int))
    on_gpus = dataclasses.replace(job.training, process={**job.training.process, "device": "gpu X", "replicas": 2})
    job = dataclasses.replace(job, training=on_gpus)
    options = ray_executor._options(StandIn(gpus=4), job)
    assert options["num_gpus"] == 2
    assert "CUDA_VISIBLE_DEVICES" not in options["runtime_env"]["env_vars"]
    with pytest.raises(UserError, match="computes with 2 GPUs, and no machine of the cluster has so many"):
        ray_executor._options(StandIn(gpus=1), job)


def test_initial_weights_travel_too(tmp_path, with_ray):
    network = build_resnet18(tiny.SHAPE, tiny.CLASSES, width=4, seed=7)
    save_weights(network, tmp_path / "start.weights.h5")
    arrays = {v.path: np.array(v) for v in network.weights}
    serial = learn(learner(tmp_path / "serial", initial=arrays))
    assert bits(learn(with_ray(tmp_path / "arrays", StandIn(), initial=arrays))) == bits(serial)
    assert bits(learn(with_ray(tmp_path / "file", StandIn(), initial=tmp_path / "start.weights.h5"))) == bits(serial)


def test_without_ray_one_line_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"^config.ensemble.executor=ray: Ray is not installed; pip install 'tfpdu\[ray\]'$"
    ):
        executor_of(tiny.settings(executor="ray"))


def test_the_settings_name_the_executor():
    assert isinstance(executor_of(tiny.settings()), SerialExecutor)
    assert isinstance(executor_of(tiny.settings(executor="ray", address="auto")), RayExecutor)
    with pytest.raises(UserError, match=r"config.ensemble.address=ray://head:10001: expected auto, or host:port"):
        RayExecutor("ray://head:10001")


def test_where_shards_are_trained_is_not_in_their_keys(tmp_path):
    serial = learner(tmp_path).keys(TABLE, SHARD, SLICE)
    on_ray = learner(tmp_path, dataclasses.replace(SLICED, executor="ray", address="auto"))
    assert on_ray.keys(TABLE, SHARD, SLICE) == serial
