"""Threads are set once; what decides the bits is in the fingerprint."""

import subprocess
import sys

import pytest

from tfpdu.common import UserError
from tfpdu.common.determinism import configure, fingerprint

_SCRIPT = """
import json, sys
from tfpdu.common import UserError
from tfpdu.common.determinism import configure, fingerprint
configure(int(sys.argv[1]))
configure(int(sys.argv[1]))
import tensorflow as tf
tf.constant(1.0) + 1.0
configure(int(sys.argv[1]))
print(json.dumps(fingerprint()))
try:
    configure(int(sys.argv[1]) + 1)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_are_set_once_and_a_change_is_refused(threads):
    done = subprocess.run([sys.executable, "-c", _SCRIPT, str(threads)], capture_output=True, text=True, timeout=120)
    printed, refused = done.stdout.splitlines()
    assert f'"threads": [{threads}, {threads}]' in printed
    assert '"deterministic": true' in printed
    assert refused == (
        f"threads: TensorFlow already runs with {threads} in this process, {threads + 1} asked for;"
        " set it before the first use"
    )


def test_the_fingerprint_names_what_decides_the_bits():
    configure(2)
    assert set(fingerprint()) == {"tensorflow", "keras", "device", "replicas", "threads", "onednn", "deterministic"}
    assert fingerprint()["threads"] == [2, 2]
    assert fingerprint(replicas=4)["replicas"] == 4


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_a_wrong_number_is_refused(threads):
    with pytest.raises(UserError, match="threads: expected a whole number of at least 1"):
        configure(threads)
