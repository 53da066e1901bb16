"""One process, one numeric setting: threads and deterministic kernels, and their fingerprint in every key.

The same weights come out of another process only with the same thread counts, kind of device, number of
replicas and oneDNN switch (a sum split over other threads is rounded otherwise). So all of them are set
once and are part of what names a trained shard.
"""

import os
from typing import Any

from tfpdu.common.errors import UserError

_configured: list[int] = []


def configure(threads: int) -> None:
    """Sets TensorFlow's threads and deterministic operations for this process; call it before any tensor is made.

    Args:
      threads: threads within an operation and between operations; at least 1.

    Raises:
      UserError: `threads` is below 1, or TensorFlow already runs with another number.
    """
    if threads < 1 or int(threads) != threads:
        raise UserError(f"threads: expected a whole number of at least 1, got {threads}")
    import tensorflow as tf

    if _configured != [threads]:
        _set_threads(int(threads), tf)
        import keras

        # Under op determinism an unseeded random op is an error; every real draw is keyed by tfpdu.common.seeds.
        keras.utils.set_random_seed(0)
        tf.config.experimental.enable_op_determinism()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        _configured[:] = [threads]


def fingerprint(replicas: int | None = None) -> dict[str, Any]:
    """What, beside data and configuration, decides the bits of trained weights: JSON-ready, equal in equal settings.

    Args:
      replicas: devices that share a batch; by default all GPUs, or else all logical CPU devices.
    """
    import keras
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0]) if gpus else {}
    intra, inter = _threads(tf)
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "device": f"gpu {details.get('device_name', '')}".strip() if gpus else "cpu",
        "replicas": int(replicas or len(devices)),
        "threads": [intra, inter],
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0",
        "deterministic": bool(_configured),
    }


def _set_threads(threads: int, tf: Any) -> None:
    """Sets both pools, or, where TensorFlow is up already, insists that they are as asked."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:  # TensorFlow allows no change once it has run an operation
        if _threads(tf) != (threads, threads):
            raise UserError(
                f"threads: TensorFlow already runs with {_threads(tf)[0]} in this process, {threads} asked for;"
                " set it before the first use"
            ) from None


def _threads(tf: Any) -> tuple[int, int]:
    """The numbers in effect, (intra-op, inter-op): as configured, by TensorFlow's variables, or one per core."""
    cores = os.cpu_count() or 1
    intra = tf.config.threading.get_intra_op_parallelism_threads()
    inter = tf.config.threading.get_inter_op_parallelism_threads()
    return (
        int(intra or os.environ.get("TF_NUM_INTRAOP_THREADS", 0) or cores),
        int(inter or os.environ.get("TF_NUM_INTEROP_THREADS", 0) or cores),
    )
