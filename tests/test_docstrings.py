"""The examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import tfpdu

MODULES = [
    module.name
    for module in pkgutil.walk_packages(tfpdu.__path__, "tfpdu.")
    if ">>>" in Path(module.module_finder.find_spec(module.name).origin).read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
