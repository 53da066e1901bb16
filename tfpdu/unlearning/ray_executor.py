"""Shards as tasks of Ray (Moritz et al. 2018), on this machine or on a cluster that shares no file system.

A task gets its rows, and the weights or the unfinished training that it goes on from, and sends files back: each slice
when it is trained, an unfinished one now and then and when it is asked to stop. Only this process writes to the run
directory, and what it writes there is what a serial run would have written. So a task may be done twice, or be lost
with its machine and given to another: it starts from what has arrived, and leaves nothing where it ran.
"""

import contextlib
import dataclasses
import importlib.util
import os
import signal
import socket
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu import __version__
from tfpdu.common import Progress, StopRequested, UserError, files, interrupt, say
from tfpdu.common.determinism import configure, fingerprint
from tfpdu.common.machine import processor
from tfpdu.unlearning.job import ShardJob, train_shard

FLAG = "config.ensemble.executor=ray"
RETRIES = 3  # how often a shard that is lost with its worker is given to another
POLL_SECONDS = 0.5
INITIAL = "initial.weights.h5"

Files = dict[str, bytes]  # by name; their order is that in which they are written


class RayExecutor:
    """One task a shard; Ray says where, and gives each as many processors and GPUs as this process computes with.

    Args:
      address: of the cluster, "auto" for the one that this machine belongs to; empty: a Ray of its own on this
        machine. A Ray that the process is connected to already is taken as it is.

    Raises:
      UserError: Ray is not installed, or the address is that of its client protocol.
    """

    def __init__(self, address: str = ""):
        if importlib.util.find_spec("ray") is None:
            raise UserError(f"{FLAG}: Ray is not installed; pip install 'tfpdu[ray]'")
        if address.startswith("ray://"):
            raise UserError(
                f"config.ensemble.address={address}: expected auto, or host:port of the cluster's head;"
                " run the command on one of its machines"
            )
        self._address = address

    def run(self, jobs: Sequence[ShardJob]) -> None:
        """See `Executor`."""
        ray = _connected(self._address)
        try:
            with Progress(f"learning {len(jobs)} shards", sum(job.left() for job in jobs), "images") as progress:
                _Watch(ray, jobs, progress).run()
        except ray.exceptions.RayError as error:
            raise UserError(f"{FLAG}: Ray failed ({_line(error)}); the same command goes on from here") from None


# ---- in this process -------------------------------------------------------------------------


class _Watch:
    """Gives jobs to workers, files what comes back, and gives the job of a lost worker to the next."""

    def __init__(self, ray: Any, jobs: Sequence[ShardJob], progress: Progress):
        self._ray, self._progress = ray, progress
        self._jobs = {job.shard: job for job in jobs}
        self._board = _board(ray)
        self._task = ray.remote(_train).options(**_options(ray, jobs[0]))
        self._sent = {job.shard: ray.put(_portable(job)) for job in jobs}
        self._losses = dict.fromkeys(self._jobs, 0)  # of workers
        self._seen = dict.fromkeys(self._jobs, 0)  # images of the slice that is being trained
        self._begun: set[int] = set()
        self._processors = {processor()}

    def run(self) -> None:
        ray, stopped = self._ray, False
        tasks = {self._submit(s): s for s in self._jobs}
        try:
            while tasks:
                ended, _ = ray.wait(list(tasks), timeout=POLL_SECONDS)
                if interrupt.stopping() and not stopped:
                    stopped = True
                    self._stop([task for task, s in tasks.items() if s not in self._begun])
                for parcel in ray.get(self._board.take.remote()):
                    self._file(*parcel)
                for task in ended:
                    s = tasks.pop(task)
                    reason = self._unfinished(task, s)
                    if reason and not stopped:
                        tasks[self._again(s, reason)] = s
        finally:
            for task in tasks:
                ray.cancel(task)
            ray.kill(self._board)
        interrupt.safe_point()

    def _submit(self, s: int) -> Any:
        return self._task.remote(self._sent[s], _luggage(self._jobs[s]), self._board)

    def _stop(self, waiting: Collection[Any]) -> None:
        """Lets the shards that have begun come to a safe point, and the others not begin."""
        say("stopping as soon as the shards in training have ended their epoch")
        self._ray.get(self._board.stop.remote())
        for task in waiting:
            self._ray.cancel(task)

    def _unfinished(self, task: Any, s: int) -> str:
        """Why a task has ended without its work done, where that is nobody's fault; else an empty text."""
        errors, job = self._ray.exceptions, self._jobs[s]
        try:
            self._ray.get(task)
        except errors.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(error, errors.RayTaskError) and not isinstance(cause, errors.RayError):
                raise (cause or error) from None
            return _line(error)
        return "" if job.done() == len(job.keys) else "it was asked to end"

    def _again(self, s: int, reason: str) -> Any:
        """Gives the job of a lost worker to another one."""
        self._losses[s] += 1
        if self._losses[s] > RETRIES:
            raise UserError(
                f"{FLAG}: shard {s + 1} lost its worker {self._losses[s]} times ({reason});"
                " the same command goes on from what is done"
            )
        say(f"shard {s + 1}: its worker was lost ({reason}); another one goes on")
        self._progress.advance(-self._seen[s])
        self._seen[s] = 0
        self._begun.discard(s)
        return self._submit(s)

    def _file(self, s: int, rows: int, note: str, machine: str, parcel: Files) -> None:
        """Writes what a worker sent, unless one that was thought lost sends what is there already."""
        job = self._jobs[s]
        self._begun.add(s)
        if machine not in self._processors:
            self._processors.add(machine)
            say(f"shards are trained on {machine} too; last bits may differ from those of {processor()}")
        self._seen[s] += rows
        self._progress.advance(rows, note)
        for name, content in parcel.items():
            r = job.keys.index(name.partition(".")[0])
            if job.weights_file(r).exists():
                continue
            files.write_bytes(job.directory / name, content)
            if name == job.weights_file(r).name:
                job.partial(r).unlink(missing_ok=True)
                self._seen[s] = 0


def _connected(address: str) -> Any:
    """Ray, connected. Its own handlers of signals are undone, so that a stop waits for a safe point."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns; `_options` hides the GPUs
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a Ray of our own tells nobody
    import ray

    if ray.is_initialized():
        return ray
    own = {} if address else {"include_dashboard": False}
    with _same_handlers():
        try:
            if ":" in address:  # Ray itself would try for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **own)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"config.ensemble.address={address}: no Ray answers ({_line(error)})") from None
    return ray


@contextlib.contextmanager
def _same_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _options(ray: Any, job: ShardJob) -> dict[str, Any]:
    """What a task needs: the processors and devices of this process, and its environment where that makes bits."""
    process = job.training.process
    gpus = process["replicas"] if process["device"].startswith("gpu") else 0
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if max(node.get("GPU", 0) for node in nodes) < gpus:
        raise UserError(f"{FLAG}: this process computes with {gpus} GPUs, and no machine of the cluster has so many")
    if not gpus and any(node.get("GPU", 0) for node in nodes):
        say("the cluster has GPUs and this process sees none: shards are trained on processors, as this process would")
    intra, inter = process["threads"]
    environment = {
        "TF_NUM_INTRAOP_THREADS": str(intra),
        "TF_NUM_INTEROP_THREADS": str(inter),
        "TF_ENABLE_ONEDNN_OPTS": str(int(process["onednn"])),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # this process may hold memory of the same GPU
        **({} if gpus else {"CUDA_VISIBLE_DEVICES": "-1"}),
    }
    return {
        "num_cpus": min(job.training.settings.threads, max(node.get("CPU", 0) for node in nodes)),
        "num_gpus": gpus,
        "max_retries": 0,  # `_Watch` gives a lost job on from where it was; Ray would start it from its beginning
        "scheduling_strategy": "SPREAD",
        "runtime_env": {"env_vars": environment},
    }


def _board(ray: Any) -> Any:
    """An actor on this machine with which workers leave parcels, and learn whether to stop."""

    class Board:  # a local class travels by value: the actor's process then needs no TensorFlow
        def __init__(self) -> None:
            self.parcels: list[tuple[Any, ...]] = []
            self.stopped = False

        def post(self, *parcel: Any) -> bool:
            self.parcels.append(parcel)
            return self.stopped

        def take(self) -> list[tuple[Any, ...]]:
            parcels, self.parcels = self.parcels, []
            return parcels

        def stop(self) -> None:
            self.stopped = True

    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()


def _portable(job: ShardJob) -> ShardJob:
    """The job with its own rows alone and without what holds on this machine only; `_luggage` has the files."""
    initial = job.training.initial
    if isinstance(initial, str | os.PathLike):
        initial = INITIAL
    rows = job.rows.take(job.members)
    rows = dataclasses.replace(rows, images=rows.images[:])  # those on disk are read: a worker does not see that disk
    training = dataclasses.replace(job.training, initial=initial)
    return dataclasses.replace(job, training=training, rows=rows, members=np.arange(len(rows)), directory=Path())


def _luggage(job: ShardJob) -> Files:
    """The files that a job goes on from."""
    done, initial = job.done(), job.training.initial
    paths = [job.weights_file(done - 1)] if done else []
    if done < len(job.keys) and job.partial(done).exists():
        paths.append(job.partial(done))
    luggage = _packed(paths)
    if not done and isinstance(initial, str | os.PathLike):
        luggage[INITIAL] = Path(initial).read_bytes()
    return luggage


# ---- in a worker ---------------------------------------------------------------------------


def _train(job: ShardJob, luggage: Files, board: Any) -> None:
    """The task: trains a shard in a directory of its own that goes with it, and sends every file home."""
    import ray

    _same_process(job)
    machine = processor()

    def post(rows: int = 0, note: str = "", paths: Sequence[Path] = ()) -> None:
        if ray.get(board.post.remote(job.shard, rows, note, machine, _packed(paths))):
            interrupt.request("the driver")
        for path in paths:
            path.unlink()

    with tempfile.TemporaryDirectory(prefix="tfpdu-") as name, interrupt.deferred():
        here = _unpacked(job, luggage, Path(name))

        def unfinished() -> list[Path]:
            return sorted(here.directory.glob("*.partial.npz"))

        try:
            post()
            train_shard(
                here,
                lambda rows, loss: post(rows, f"loss {loss:.3f}", unfinished()),
                lambda r: post(paths=[here.note(r), here.weights_file(r)]),
            )
        except StopRequested:
            post(paths=unfinished())


def _same_process(job: ShardJob) -> None:
    """Raises `UserError` unless this process computes bit for bit like the one that named the keys."""
    configure(job.training.settings.threads)
    for name, value in {"tfpdu": __version__, **fingerprint()}.items():
        wanted = job.training.process.get(name)
        if value != wanted:
            raise UserError(
                f"{FLAG}: {name} is {value!r} on {socket.gethostname()} and {wanted!r} where the run is:"
                " other weights would come of it"
            )


def _unpacked(job: ShardJob, luggage: Files, directory: Path) -> ShardJob:
    for name, content in luggage.items():
        (directory / name).write_bytes(content)
    training = job.training
    if training.initial == INITIAL:
        training = dataclasses.replace(training, initial=directory / INITIAL)
    return dataclasses.replace(job, training=training, directory=directory)


def _packed(paths: Sequence[Path]) -> Files:
    return {path.name: path.read_bytes() for path in paths}


def _line(error: BaseException) -> str:
    """The first line of a message, or the kind of error where there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
