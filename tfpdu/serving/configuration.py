"""The files that TensorFlow Serving is started with: models.config, batching.config and monitoring.config."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from tfpdu.serving.examples import WARM_BATCHES


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """What models.config says of a model.

    Attributes:
      name: of letters, digits, dots, dashes and underscores.
      base_path: the directory of its versions, as the servers see it.
      versions: to be loaded; at least one.
      labels: {label: version}, each of them among `versions`.
    """

    name: str
    base_path: str
    versions: Sequence[int]
    labels: Mapping[str, int]


def models_config(models: Sequence[ServedModel]) -> str:
    """The text of models.config (ModelServerConfig): a server unloads whatever it does not name."""
    return "model_config_list {\n" + "".join(_model(model) for model in models) + "}\n"


def _model(model: ServedModel) -> str:
    versions = "".join(f"        versions: {number}\n" for number in sorted(model.versions))
    labels = "".join(
        f"    version_labels {{\n      key: {_quoted(label)}\n      value: {number}\n    }}\n"
        for label, number in sorted(model.labels.items())
    )
    return (
        f"  config {{\n    name: {_quoted(model.name)}\n    base_path: {_quoted(model.base_path)}\n"
        f'    model_platform: "tensorflow"\n'
        f"    model_version_policy {{\n      specific {{\n{versions}      }}\n    }}\n{labels}  }}\n"
    )


def batching_config(cores: int | None = None) -> str:
    """The text of batching.config (BatchingParameters), for a CPU: as many threads as cores, no waiting for company.

    TensorFlow Serving's guide starts there; raise batch_timeout_micros to 1000..10000 for throughput.
    """
    cores = cores or os.cpu_count() or 1
    sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in WARM_BATCHES)
    return (
        f"max_batch_size {{ value: {WARM_BATCHES[-1]} }}\nbatch_timeout_micros {{ value: 0 }}\n"
        f"max_enqueued_batches {{ value: {100 * cores} }}\nnum_batch_threads {{ value: {cores} }}\n{sizes}"
    )


def monitoring_config() -> str:
    """The text of monitoring.config (MonitoringConfig): Prometheus reads the REST port."""
    return 'prometheus_config {\n  enable: true\n  path: "/monitoring/prometheus/metrics"\n}\n'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
