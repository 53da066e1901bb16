import pytest


@pytest.fixture(autouse=True, scope="session")
def deterministic():
    from tfpdu.common.determinism import configure

    configure(2)
