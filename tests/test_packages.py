"""What packages promise in `__all__` is there, whether imported at once or on demand."""

import importlib
import pkgutil
import types

import pytest

import tfpdu

PACKAGES = [info.name for info in pkgutil.walk_packages(tfpdu.__path__, "tfpdu.") if info.ispkg]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_is_there_and_is_no_module_by_mistake(name):
    package = importlib.import_module(name)
    names = getattr(package, "__all__", [])
    assert len(set(names)) == len(names)
    modules = {info.name for info in pkgutil.iter_modules(package.__path__)}
    for each in names:
        found = getattr(package, each)
        assert each in modules or not isinstance(found, types.ModuleType), each
        if each in modules:  # a function named as its module: imported at once, so that the function has the name
            importlib.import_module(f"{name}.{each}")
            assert getattr(package, each) is found


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'tfpdu.ensemble' has no attribute 'Ensembel'"):
        _ = importlib.import_module("tfpdu.ensemble").Ensembel
