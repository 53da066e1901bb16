import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.data import ViewPolicy
from tfpdu.data.views import MIDDLE_GREY, epoch_order, render, row_keys, training_views

IDS = np.array([f"set/{row:04d}" for row in range(60)])


def pictures(n=60, height=7, width=9, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def candidates(image, shift, flips):
    """All pictures that shift and flip can make of one, by NumPy's own reflection: the slow, plain way."""
    height, width, _ = image.shape
    padded = np.pad(image, [(shift, shift), (shift, shift), (0, 0)], mode="reflect")
    for top in range(2 * shift + 1):
        for left in range(2 * shift + 1):
            moved = padded[top : top + height, left : left + width]
            for mirrored in flips:
                yield (top, left, mirrored), moved[:, ::-1] if mirrored else moved


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("shift", "flip"), [(0, True), (2, False), (3, True)])
def test_a_view_is_the_picture_moved_and_mirrored(channels, shift, flip):
    images, policy = pictures(channels=channels), ViewPolicy(shift=shift, flip=flip)
    rendered = render(images, IDS, np.arange(60) % 10, policy, 0)
    found = []
    for image, out in zip(images, rendered, strict=True):
        matches = [key for key, made in candidates(image, shift, (False, True) if flip else (False,))
                   if np.array_equal(made, out)]  # fmt: skip
        assert len(matches) == 1
        found += matches
    # Each kind of move occurs, and both sides of the mirror.
    assert len({top for top, _, _ in found}) == len({left for _, left, _ in found}) == 2 * shift + 1
    assert len({mirrored for _, _, mirrored in found}) == 1 + flip


def test_float_pictures_are_moved_as_whole_numbers_are():
    images = np.random.default_rng(0).integers(0, 255, (6, 5, 5, 3)).astype(np.uint8)
    ids, view, policy = [f"r{i}" for i in range(6)], np.arange(6), ViewPolicy(shift=2)
    whole, real = (render(x, ids, view, policy, 3) for x in (images, images.astype(np.float32)))
    assert real.dtype == np.float32
    assert np.array_equal(whole, real)


def test_without_any_change_asked_for_a_view_is_the_picture():
    images = pictures()
    rendered = render(images, IDS, 0, ViewPolicy(flip=False, shift=0), 0)
    np.testing.assert_array_equal(rendered, images)
    assert not np.shares_memory(rendered, images)


def test_rendering_leaves_the_originals_alone_and_takes_any_memory_layout():
    images = pictures()
    strided = np.asfortranarray(images)
    before = images.copy()
    policy = ViewPolicy(shift=2, cutout=3)
    np.testing.assert_array_equal(render(images, IDS, 4, policy, 0), render(strided, IDS, 4, policy, 0))
    np.testing.assert_array_equal(images, before)


def test_cutout_greys_one_square_cut_at_the_border():
    images = np.zeros((60, 12, 12, 1), np.uint8)
    rendered = render(images, IDS, 1, ViewPolicy(flip=False, shift=0, cutout=4), 0)[..., 0]
    assert set(np.unique(rendered)) == {0, MIDDLE_GREY}
    for out in rendered:
        rows, columns = np.flatnonzero(out.any(1)), np.flatnonzero(out.any(0))
        assert 2 <= len(rows) <= 4
        assert 2 <= len(columns) <= 4
        assert np.all(out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == MIDDLE_GREY)


def test_views_of_a_row_differ_and_are_the_same_every_time():
    images, policy = pictures(1, 16, 16), ViewPolicy(count=10)
    views = [render(images, IDS[:1], j, policy, 0) for j in range(10)]
    assert len({view.tobytes() for view in views}) >= 8  # 162 transforms: a tie or two may happen
    np.testing.assert_array_equal(views[3], render(images, IDS[:1], np.array([3]), policy, 0))
    assert {v.tobytes() for v in views} != {render(images, IDS[:1], j, policy, 1).tobytes() for j in range(10)}


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 59), min_size=1), st.integers(0, 5), st.integers(0, 3))
def test_removing_rows_changes_nothing_for_the_others(kept, epoch, seed):
    rows = np.array(sorted(kept))
    images, policy = pictures(), ViewPolicy(shift=2, cutout=2)
    order = [row for row in epoch_order(IDS, epoch, seed) if row in kept]
    np.testing.assert_array_equal(rows[epoch_order(IDS[rows], epoch, seed)], order)
    view = training_views(IDS, epoch, policy, seed)
    np.testing.assert_array_equal(training_views(IDS[rows], epoch, policy, seed), view[rows])
    everything = render(images, IDS, view, policy, seed)
    np.testing.assert_array_equal(render(images[rows], IDS[rows], view[rows], policy, seed), everything[rows])


def test_keys_stand_for_ids():
    keys, policy = row_keys(IDS), ViewPolicy(shift=2)
    np.testing.assert_array_equal(epoch_order(keys, 2, 0), epoch_order(IDS.tolist(), 2, 0))
    np.testing.assert_array_equal(training_views(keys, 2, policy, 0), training_views(IDS, 2, policy, 0))
    np.testing.assert_array_equal(render(pictures(), keys, 1, policy, 0), render(pictures(), IDS, 1, policy, 0))


def test_epochs_have_orders_of_their_own_and_all_views_come_equally_often():
    ids = [f"row/{row}" for row in range(20_000)]
    assert sorted(epoch_order(ids, 0, 0)) == list(range(20_000))
    assert not np.array_equal(epoch_order(ids, 0, 0), epoch_order(ids, 1, 0))
    counts = np.bincount(training_views(ids, 0, ViewPolicy(count=10), 0), minlength=10)
    # Binomial(20,000, 1/10): mean 2,000, standard deviation 42; five of them.
    assert np.abs(counts - 2000).max() < 212


def test_known_order_and_views_stay_what_they_are():
    """Recorded runs rest on these numbers."""
    ids = [f"digits/{row:05d}" for row in range(8)]
    assert epoch_order(ids, 1, 0).tolist() == [5, 0, 6, 3, 2, 7, 1, 4]
    assert training_views(ids, 1, ViewPolicy(count=10), 0).tolist() == [8, 6, 9, 8, 1, 1, 2, 2]


def test_a_shift_as_large_as_the_picture_is_refused():
    with pytest.raises(UserError, match=r"views.shift: 7 pixels, the pictures have 7 x 9"):
        render(pictures(), IDS, 0, ViewPolicy(shift=7), 0)


def test_an_empty_batch_is_no_trouble():
    assert render(pictures(0), [], np.zeros(0, np.int64), ViewPolicy(shift=2, cutout=2), 0).shape == (0, 7, 9, 3)


@pytest.mark.parametrize("change", [{"count": 0}, {"shift": -1}, {"cutout": -1}, {"shift": 1.5}, {"count": "ten"}])
def test_a_policy_out_of_range_is_refused(change):
    with pytest.raises(UserError, match=next(iter(change))):
        ViewPolicy(**change)
