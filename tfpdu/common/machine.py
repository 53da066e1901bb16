"""What a result was made on, in words for people."""

import os
import platform
import resource
import sys
from pathlib import Path


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_gigabytes() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)


def machine() -> dict[str, str | int]:
    """Platform, processor, number of cores that this process may use, Keras and its backend; JSON-ready."""
    import keras

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "platform": platform.platform(),
        "cpu": processor(),
        "cores": cores,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
    }
