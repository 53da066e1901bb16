import shutil

import numpy as np
import pytest

from tests.debiasing.tables import no_source, study
from tfpdu.common.cells import Cells
from tfpdu.debiasing import Deletion, StudySettings

STUDY = study()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("deletion")
    done = Deletion(STUDY, StudySettings(seeds=(0,)), Cells(directory / "cells"), no_source(directory))
    done.run()
    return done


def test_each_request_takes_as_many_rows_and_each_remedy_is_measured(finished):
    lines = {line["arm"]: line for line in finished.results()}
    assert list(lines) == finished.arms
    assert finished.rows == 8  # half of the 16 rows of the smallest group
    for arm, line in lines.items():
        forget, remedy = arm.split("/")
        assert "skipped" not in line
        expected = 80 if forget == "before" or remedy == "replenished" else 72
        assert line["rows"] == expected
        assert line["steps"] == 15
    assert lines["concentrated/replenished"]["how"] == "copies"
    assert any("tone light loses 8 of its 16" in text for text in lines["concentrated/plain"]["warnings"])


def test_the_concentrated_set_is_of_the_smallest_group_and_the_adversary_s_of_the_worst_off(finished):
    tone = STUDY.records.column("tone")
    gone, group = finished._forgotten("concentrated", 0)
    assert (group, gone.sum(), set(tone[gone].tolist())) == ("light", 8, {1})
    before = finished.results()[0]["adversary"]
    gone, group = finished._forgotten("adversary", 0)
    assert group == before["group"]
    assert sorted(STUDY.records.ids[gone].tolist()) == sorted(before["ids"])
    assert len({STUDY.groups(STUDY.records)[1][code] for code in tone[gone]}) == 1
    random, _ = finished._forgotten("random", 0)
    assert random.sum() == 8
    other, _ = finished._forgotten("random", 1)
    assert not np.array_equal(random, other)


def test_one_that_was_begun_goes_on_with_the_same_rows(finished, tmp_path):
    again = Deletion(STUDY, StudySettings(seeds=(0,)), Cells(tmp_path / "cells"), no_source(tmp_path))
    before, name = "seed-0/before/plain", "seed-0/adversary/plain"
    again.cells.file(before).parent.mkdir(parents=True)
    shutil.copy(finished.cells.file(before), again.cells.file(before))  # the adversary has looked at that model
    again.cells.run("one", [before, name], again._measure)
    assert {**again.cells.read(name), "cell_seconds": 0} == {**finished.cells.read(name), "cell_seconds": 0}
