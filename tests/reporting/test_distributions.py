"""The figures of a bias report: what they say, and that they are whole pictures."""

import math

import numpy as np
import pytest
from PIL import Image

from tfpdu.bias import as_lines
from tfpdu.reporting.distributions import attributes_figure, joint_figure, write_distributions


def entry(values, shape, prior, before, after, kl_before=0.1):
    counts = {f"counts_{k}": [round(100 * s) for s in v] for k, v in (("before", before), ("after", after))}
    kls = {"kl_before": kl_before, "kl_after": 0.0}
    return {"values": values, "shape": shape, "prior": prior, "before": before, "after": after, **counts, **kls}


@pytest.fixture
def report():
    colour = entry(["black", "orange"], [2], [0.5, 0.5], [0.8, 0.2], [0.5, 0.5], math.inf)
    cells = ["cat, black", "cat, orange", "dog, black", "dog, orange"]
    joint = entry(cells, [2, 2], None, [0.0, 0.2, 0.8, 0.0], [0.0, 0.5, 0.5, 0.0], None)
    sums = {"kl_before": math.inf, "kl_after": 0.0, "total_before": math.inf, "total_after": 0.0}
    return {
        "attributes": {"colour": colour},
        "joint": {"label x colour": joint},
        **sums,
        "n_added": 60,
        "smoothing": 0.0,
    }


def texts(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts]


def test_bars_carry_name_divergence_shares_and_rows(report):
    figure = attributes_figure(report)
    assert texts(figure)[0] == "colour    KL ∞ → 0 nats"
    assert "80.0%  80" in texts(figure)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [0.8, 0.5, 0.2, 0.5]
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [0.5, 0.5]


def test_grids_say_which_cells_are_empty(report):
    before, after = joint_figure(report).axes
    assert [t.get_text() for t in before.texts] == ["none", "20\n20.0%", "80\n80.0%", "none"]
    assert [t.get_text() for t in after.texts].count("none") == 2
    assert before.get_title(loc="left") == "before  ·  100 rows"


def test_report_without_a_joint_has_one_figure(report, tmp_path):
    written = write_distributions({**report, "joint": {}}, tmp_path)
    assert [path.name for path in written] == ["bias_attributes.png"]


def test_figures_are_pictures_with_something_on_them(report, tmp_path):
    for path in write_distributions(report, tmp_path):
        pixels = np.asarray(Image.open(path).convert("L"))
        assert min(pixels.shape) > 200
        assert pixels[0].min() == 255  # nothing is cut off at the top
        assert pixels.std() > 20


def test_same_report_gives_the_same_bytes(report, tmp_path):
    one, two = (write_distributions(report, tmp_path / name) for name in ("a", "b"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


def test_table_reads_what_a_file_gives_back(report):
    report["attributes"]["colour"]["kl_before"] = report["kl_before"] = None  # as JSON has infinity
    lines = as_lines(report)
    assert any(line.startswith("colour") and line.split()[-2:] == ["inf", "0"] for line in lines)
    assert not any("cat, black" in line for line in lines)  # no rows and no prior: nothing to say
    assert lines[-2] == "rows added: 60; smoothing: 0 pseudo-rows a value"
