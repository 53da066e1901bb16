"""What packages promise in `__all__` is there, whether imported at once or on demand."""

import importlib
import pkgutil
import subprocess
import sys
import types

import pytest

import tfpdu

PACKAGES = [info.name for info in pkgutil.walk_packages(tfpdu.__path__, "tfpdu.") if info.ispkg]
MODULES = {"tfpdu.data": {"views"}}  # that are promised as such


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_is_there_and_is_no_module_by_mistake(name):
    package = importlib.import_module(name)
    names = getattr(package, "__all__", [])
    assert len(set(names)) == len(names)
    assert set(names) <= set(dir(package))
    assert {n for n in names if isinstance(getattr(package, n), types.ModuleType)} == MODULES.get(name, set())


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'tfpdu.ensemble' has no attribute 'Ensembel'"):
        _ = importlib.import_module("tfpdu.ensemble").Ensembel


def test_files_of_our_own_networks_are_loaded_by_who_has_imported_nothing_else(tmp_path):
    from tfpdu.ensemble import build_resnet18, build_small_vit

    paths = [str(tmp_path / "resnet.keras"), str(tmp_path / "vit.keras")]
    build_resnet18((8, 8, 3), 3, width=2).save(paths[0])
    build_small_vit((8, 8, 3), 3).save(paths[1])
    code = "import sys; from tfpdu.audit.models import load_keras; [load_keras(path) for path in sys.argv[1:]]"
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
