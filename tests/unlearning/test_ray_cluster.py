"""A real Ray: two nodes on this machine, with processes, object stores and schedulers of their own."""

import contextlib
import dataclasses
import os
import signal
import threading
import time

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from tests.ensemble import tiny
from tests.unlearning.test_exact import SHARD, SLICE, TABLE, bits, everything, learn, learner, without
from tfpdu.common import StopRequested, UserError, interrupt
from tfpdu.unlearning import ray_executor

STORE = 100_000_000  # bytes of an object store
ON_RAY = tiny.settings(slices=3, epochs=4, executor="ray")
SERIAL = dataclasses.replace(ON_RAY, executor="serial")


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path_factory):
    """Where workers have their temporary directories."""
    directory = tmp_path_factory.mktemp("workers")
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # Ray's sockets need short names
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of a default to come
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    yield directory
    ray.shutdown()


@pytest.fixture
def cluster():
    """A head that takes no tasks, and two nodes of two processors."""
    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    nodes = [made.add_node(num_cpus=2, object_store_memory=STORE) for _ in range(2)]
    yield made, nodes
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
def test_one_machine_gives_the_bits_of_a_serial_run_and_keeps_nothing(tmp_path, temporary):
    ray.init("local", num_cpus=2, object_store_memory=STORE, include_dashboard=False, log_to_driver=False)
    rows = without(*range(0, 33, 2))
    assert bits(learn(learner(tmp_path / "a", ON_RAY), rows)) == bits(learn(learner(tmp_path / "b", SERIAL), rows))
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    assert not list(temporary.glob("tfpdu-*"))


@pytest.mark.slow
def test_two_nodes_give_the_bits_of_a_serial_run_and_forget_like_it(tmp_path, cluster):
    on_ray = dataclasses.replace(ON_RAY, address=cluster[0].address)
    a, b = learner(tmp_path / "a", on_ray), learner(tmp_path / "b", SERIAL)
    for rows in (without(), without(3, 4), without(3, 4, 32)):
        assert bits(learn(a, rows)) == bits(learn(b, rows))
        assert everything(tmp_path / "a") == everything(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.parametrize("epochs_before", [1, 20])
def test_a_node_killed_in_mid_run_costs_time_and_no_result(tmp_path, cluster, monkeypatch, capsys, epochs_before):
    made, nodes = cluster
    long = dataclasses.replace(ON_RAY, address=made.address, epochs=200)
    file, filed = ray_executor._Watch._file, []

    def kill_a_node(self, s, rows, *parcel):
        file(self, s, rows, *parcel)
        filed.append(rows)
        if len(filed) == epochs_before:
            ours = ray.get_runtime_context().get_node_id()
            made.remove_node(next(node for node in nodes if node.node_id != ours), allow_graceful=False)

    monkeypatch.setattr(ray_executor._Watch, "_file", kill_a_node)
    on_ray = learn(learner(tmp_path / "a", long))
    assert "its worker was lost" in capsys.readouterr().err
    assert bits(on_ray) == bits(
        learn(learner(tmp_path / "b", dataclasses.replace(long, executor="serial", address="")))
    )
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    assert not list(tmp_path.rglob("*.partial.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_keeps_the_epochs_so_far(tmp_path, cluster, monkeypatch, number):
    long = dataclasses.replace(ON_RAY, address=cluster[0].address, slices=1, epochs=400)
    file, signals = ray_executor._Watch._file, [number]

    def signal_at_the_first_epoch(self, s, rows, *parcel):
        file(self, s, rows, *parcel)
        if rows and signals:
            os.kill(os.getpid(), signals.pop())

    zero = np.zeros_like(SLICE)
    with monkeypatch.context() as patch, interrupt.deferred():
        patch.setattr(ray_executor._Watch, "_file", signal_at_the_first_epoch)
        with pytest.raises(StopRequested, match=number.name):
            learner(tmp_path / "a", long).learn(TABLE, SHARD, zero)
    assert list(tmp_path.rglob("*.partial.npz"))
    assert not list(tmp_path.rglob("*.h5"))
    serial = dataclasses.replace(long, executor="serial", address="")
    runs = [learner(tmp_path / "a", long), learner(tmp_path / "b", serial)]
    a, b = (run.learn(TABLE, SHARD, zero) for run in runs)
    assert bits(a) == bits(b)
    assert not list(tmp_path.rglob("*.partial.npz"))


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_ends_the_run_with_one_line(tmp_path, cluster, temporary):
    def kill_the_workers():
        while not done.is_set():
            for line in os.popen("ps -eo pid,args").read().splitlines():
                if "ray::_train" in line:
                    with contextlib.suppress(ProcessLookupError):  # it has ended since
                        os.kill(int(line.split()[0]), signal.SIGKILL)
            time.sleep(0.2)

    done = threading.Event()
    killer = threading.Thread(target=kill_the_workers)
    killer.start()
    try:
        with pytest.raises(UserError, match=r"shard \d lost its worker 4 times"):
            learn(learner(tmp_path, dataclasses.replace(ON_RAY, address=cluster[0].address, epochs=400)))
    finally:
        done.set()
        killer.join()
    assert list(temporary.glob("tfpdu-*"))  # what docs/scale.md says of workers that are killed by force


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"config.ensemble.address=127.0.0.1:9: no Ray answers"):
        learn(learner(tmp_path, dataclasses.replace(ON_RAY, address="127.0.0.1:9")))
