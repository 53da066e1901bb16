"""The flags and steps that `tfpdu serving` and `tfpdu forget --publish` share."""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

if TYPE_CHECKING:
    from tfpdu.common.run_directory import RunDirectory
    from tfpdu.serving.client import Client
    from tfpdu.serving.publish import PublishSettings
    from tfpdu.settings import Settings

NAME = flags.DEFINE_string("name", "", "the model's name at the servers; default the data set's")
SERVER = flags.DEFINE_multi_string(
    "server", [], "host:8501 (REST) or grpc://host:8500, for every server of the model; several times"
)
LABEL = flags.DEFINE_enum("label", "stable", ["stable", "canary"], "that the new version gets")
SERVED_FROM = flags.DEFINE_string("served_from", "", "the directory of models as the servers see it, e.g. /models")
PRECISION = flags.DEFINE_enum(
    "precision", None, ["float32", "mixed_bfloat16"], "of the exported networks; default as they were trained"
)
MEMBER_VOTES = flags.DEFINE_bool("member_votes", False, "also answer with each member's choice, which tells of shards")
FAIL_IF = flags.DEFINE_multi_string(
    "fail_if", [], "end with exit code 3, and publish nothing, if this holds of the last step: moments.ci_low>0.55"
)
WAIT = flags.DEFINE_float("wait", 300.0, "seconds that servers get to follow each push", lower_bound=0.0)
RELOAD = flags.DEFINE_bool("reload", False, "hand models.config over by gRPC; else servers have to poll it")
STORAGE = flags.DEFINE_enum(
    "storage", "disk", ["disk", "bucket"], "bucket: directories cannot be renamed at once, so saved_model.pb goes last"
)
OFFLINE = flags.DEFINE_bool("offline", False, "no server reads --models: what leaves the configuration is gone")


def clients(name: str) -> "list[Client]":
    """One client for each --server."""
    from tfpdu.serving.client import Client

    return [Client(server, name) for server in SERVER.value]


def publish_settings(mode: str) -> "PublishSettings":
    """What the flags say of publishing; `mode` is config.deletion.mode of the run."""
    from tfpdu.serving.publish import PublishSettings

    return PublishSettings(
        patience=WAIT.value,
        reload=RELOAD.value,
        atomic=STORAGE.value == "disk",
        erase=mode == "service",
        offline=OFFLINE.value,
    )


def publish(settings: "Settings", run: "RunDirectory", models: str | Path, only_export: bool = False) -> None:
    """Publishes the last step of a run, which this process holds; ends with the gate's exit code where one fired."""
    from tfpdu.common.gate import Gate
    from tfpdu.publication import check, deletions, note_publication, note_withdrawals, release_of
    from tfpdu.serving.publish import Publisher
    from tfpdu.serving.versions import Repository

    gates = [Gate.parse(text) for text in FAIL_IF.value]
    name = NAME.value or settings.data.name
    repository = Repository(models, name, SERVED_FROM.value)
    release = release_of(settings, run, PRECISION.value or "", MEMBER_VOTES.value)
    app.end_if_fired(check(settings, run, release, gates), "; nothing was published")
    note_publication(run, repository)
    with repository.hold():
        publisher = Publisher(
            repository, deletions(run), clients(name), publish_settings(settings.deletion.mode), note=print
        )
        if only_export:
            publisher.export(release, str(run.path.resolve()))
        else:
            publisher.publish(release, LABEL.value, str(run.path.resolve()))
            note_withdrawals(run, repository)


def check_flags(models: str) -> None:
    """Raises `UserError` where the flags do not go together, before anything that takes long."""
    if not models:
        raise UserError("--models: expected the directory of models that the servers read")
    from tfpdu.serving.publish import check_servers

    check_servers(clients(NAME.value or "model"), publish_settings(""))
