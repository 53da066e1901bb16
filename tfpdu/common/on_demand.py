"""Names of a package whose modules are imported when somebody asks for one of them.

TensorFlow takes seconds to import: who checks settings, reads the ledger or compares runs does not wait for it.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def on_demand(package: str, names: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package.

    Args:
      package: its name.
      names: {module of the package: what is to be had from it}. None may be a module's own name: once that module is
        imported, Python takes the name for it.

    >>> load, listed = on_demand("tfpdu.common", {"validation": ["did_you_mean"]})
    >>> load("did_you_mean").__name__, "did_you_mean" in listed()
    ('did_you_mean', True)
    """
    places = {name: module for module, known in names.items() for name in known}

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{places[name]}"), name)

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return load, listed
