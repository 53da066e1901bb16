"""Small folders of pictures that show nobody."""

import pytest
from PIL import Image

from tests.own_data.messy import blobs, people, write_messy


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    """(folder, table, what has to be found) of 240 pictures."""
    return write_messy(tmp_path_factory.mktemp("messy"), blobs(240), people(240))


@pytest.fixture
def few(tmp_path):
    """A folder of four pictures; returns it with a function that writes its table from columns."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, image in enumerate(blobs(4)):
        Image.fromarray(image).save(folder / f"{k}.png")

    def table(**columns):
        names = list(columns)
        rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
        path = tmp_path / "people.csv"
        path.write_text("\n".join([",".join(names), *rows]) + "\n", encoding="utf-8")
        return path

    return folder, table
