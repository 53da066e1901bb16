"""A whole run on pictures that stay on disk gives, bit for bit, the files of a run that holds them in memory."""

import json

import numpy as np
import pytest

from tests.loop_config import tiny_config
from tfpdu.common import files
from tfpdu.data import ImageStore, catalog, storage
from tfpdu.loop import run_pdu


def results(workdir):
    """Every array and result by name, without what the clock and the setting decide."""
    found = {}
    for path in sorted(workdir.rglob("*")):
        name = str(path.relative_to(workdir))
        if name.startswith("cache/") or name == "config.json":
            continue
        if path.suffix == ".npz":
            found[name] = files.array_hash(*[array for _, array in sorted(files.read_npz(path).items())])
        elif name.startswith("shards/") and path.suffix == ".h5":
            found[name] = files.file_hash(path)
        elif name in ("audit.json", "bias.json", "fairness.json", "pools.json"):
            found[name] = json.loads(path.read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", ["diffusion", "oversample"])
def test_a_run_from_disk_is_a_run_from_memory(digits_archive, tmp_path, monkeypatch, method):
    loaded = []
    source = catalog.load_npz

    def noted(directory, image_size, attributes, shelf):
        loaded.append(source(directory, image_size, attributes, shelf))
        return loaded[-1]

    monkeypatch.setitem(catalog.SOURCES, "npz", noted)
    monkeypatch.setattr(storage, "WHOLE_BYTES", 0)  # nothing on the way may read all pictures
    shared = {"data__name": "npz", "data__directory": digits_archive, "augment__method": method}
    for name, limit in (("memory", 4.0), ("disk", 0)):
        run_pdu(tiny_config(**shared, data__in_memory_gb=limit), tmp_path / name)
    assert [type(records.images) for records in loaded] == [np.ndarray, ImageStore]
    assert (tmp_path / "disk" / "cache").is_dir()
    assert results(tmp_path / "disk") == results(tmp_path / "memory")
    assert any(name.startswith("shards/") for name in results(tmp_path / "disk"))
