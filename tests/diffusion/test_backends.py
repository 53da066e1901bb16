"""Network, loss, sampler and guidance stay free of any one backend."""

import ast
from pathlib import Path

import pytest

import tfpdu.diffusion

MODULES = sorted(Path(tfpdu.diffusion.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_only_the_compiled_step_knows_tensorflow(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    backends = {name.split(".")[0] for name in imported} & {"tensorflow", "jax", "torch"}
    assert backends == ({"tensorflow"} if path.stem == "compiled" else set())
