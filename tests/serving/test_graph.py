"""The graph answers as the Keras ensemble does, reads pictures as the data rooms do, and says what it cannot take."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.ensemble import tiny as resnets
from tests.serving import tiny
from tfpdu.common import UserError
from tfpdu.data import pictures
from tfpdu.ensemble import Ensemble, build_resnet18
from tfpdu.ensemble.settings import AGGREGATES
from tfpdu.serving.graph import ServedEnsemble
from tfpdu.serving.pictures import PictureReader, reader_of

RANDOM = np.random.default_rng(0)


def signatures(ensemble, shape=tiny.SHAPE, names=tiny.NAMES, **options):
    return ServedEnsemble(ensemble, names, PictureReader(shape), **options).signatures()


def images(n, shape=tiny.SHAPE):
    return RANDOM.integers(0, 256, (n, *shape), np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def plain():
    return signatures(tiny.ensemble(1, 3))


@pytest.mark.parametrize("how", AGGREGATES)
def test_every_aggregation_answers_as_the_ensemble_does(how):
    ensemble = tiny.ensemble(2, 3, aggregate=how)
    served = signatures(ensemble, member_votes=True)
    batch = images(64)
    expected = ensemble.probabilities(batch)
    for n in (1, 7, 64):
        answer = served["serving_default"](images=tf.constant(batch[:n]))
        assert answer["probabilities"].dtype == tf.float32
        np.testing.assert_allclose(answer["probabilities"], expected[:n], atol=1e-6)
        assert answer["class_id"].dtype == tf.int64
        np.testing.assert_array_equal(answer["class_id"], expected[:n].argmax(1))
        assert answer["class_name"].numpy().tolist() == [tiny.NAMES[i].encode() for i in expected[:n].argmax(1)]
        votes = ensemble.shard_probabilities(batch[:n]).argmax(2).T  # [n, k]
        np.testing.assert_array_equal(answer["member_votes"], votes)


def test_votes_are_told_on_request_alone(plain):
    assert set(plain["serving_default"].structured_outputs) == {"probabilities", "class_id", "class_name"}


def residual(precision):
    """Two ResNet18s of 8 x 8 pixels with statistics as after training, so that answers are no extremes."""
    members = []
    for seed in range(2):
        network = build_resnet18(resnets.SHAPE, resnets.CLASSES, width=4, seed=seed)
        weights = {v.path: np.array(v) for v in network.weights}
        for path, value in weights.items():
            if path.endswith("_2_norm/gamma"):
                weights[path] = np.full_like(value, 0.3)
            if path.startswith("logits"):
                weights[path] = np.random.default_rng(seed).normal(0, 0.5, value.shape).astype(np.float32)
        members.append([weights[v.path] for v in network.weights])
    network = build_resnet18(resnets.SHAPE, resnets.CLASSES, width=4, precision=precision)
    return Ensemble(members, network, resnets.settings(precision=precision))


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-5), pytest.param("mixed_bfloat16", 0.02, marks=pytest.mark.slow)]
)
def test_residual_networks_answer_alike_in_both_precisions(precision, tolerance):
    ensemble = residual(precision)
    served = signatures(ensemble, resnets.SHAPE)["serving_default"]
    batch = images(20, resnets.SHAPE)
    expected = ensemble.probabilities(batch)
    assert np.ptp(expected, axis=0).max() > 0.05  # answers that differ from picture to picture
    np.testing.assert_allclose(served(images=tf.constant(batch))["probabilities"], expected, atol=tolerance)
    np.testing.assert_allclose(served(images=tf.constant(batch[:1]))["probabilities"], expected[:1], atol=tolerance)


# ---- encoded pictures ----------------------------------------------------------------------------


def test_encoded_pictures_answer_as_their_pixels_do(plain):
    batch = images(7)
    by_pixels = plain["serving_default"](images=tf.constant(batch))
    by_bytes = plain["serving_bytes"](image_bytes=tf.constant([encoded(image) for image in batch]))
    for name in by_pixels:
        np.testing.assert_array_equal(by_pixels[name], by_bytes[name])


def read(data, shape, **options):
    reader = PictureReader(shape, **options)
    return tf.function(reader.read)(tf.constant(data)).numpy()


def smooth(high, wide, channels=3):
    y, x = np.mgrid[0:high, 0:wide]
    waves = [np.sin(y / (3 + c)) + np.cos(x / (5 + c)) for c in range(channels)]
    return (127 + 60 * np.stack(waves, -1)).astype(np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (65, 33), (200, 131), (9, 20), (16, 16)])
def test_pictures_are_cut_and_resized_as_ones_own_are_read(size, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(smooth(*size)))
    expected = pictures.read_picture(tmp_path / "a.png", 16).astype(int)
    found = read((tmp_path / "a.png").read_bytes(), (16, 16, 3)).astype(int)
    assert np.abs(found - expected).max() <= 1  # Pillow rounds its weights to 22 bits
    assert np.mean(found != expected) < 0.02


def test_faces_are_resized_as_celeb_a_is_read():
    from tfpdu.data.tfds_directory import decode_picture

    data = encoded(smooth(218, 178), "JPEG", quality=95)
    picture = tf.image.resize_with_crop_or_pad(decode_picture(data), 178, 178)
    expected = tf.cast(tf.round(tf.image.resize(picture, (64, 64), method="area")), tf.uint8)
    reader = reader_of("celeb_a", (64, 64, 3))
    np.testing.assert_array_equal(tf.function(reader.read)(tf.constant(data)), expected)


def test_a_jpeg_is_decoded_by_the_exact_transform():
    data = encoded(smooth(16, 16), "JPEG", quality=80)
    exact = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE").numpy()
    np.testing.assert_array_equal(read(data, (16, 16, 3)), exact)


def test_transparency_is_dropped_or_laid_on_white_as_the_data_were_read(tmp_path):
    image = np.concatenate([smooth(16, 16), RANDOM.integers(0, 256, (16, 16, 1), np.uint8)], -1)
    (tmp_path / "a.png").write_bytes(data := encoded(image))
    np.testing.assert_array_equal(read(data, (16, 16, 3)), image[..., :3])
    white = pictures.read_picture(tmp_path / "a.png", 16).astype(int)
    assert np.abs(read(data, (16, 16, 3), alpha="white").astype(int) - white).max() <= 1
    assert reader_of("image_folder", (16, 16, 3)).alpha == "white"


def test_colours_become_grey_and_grey_becomes_colours():
    grey = np.full((8, 8, 1), 77, np.uint8)
    np.testing.assert_array_equal(read(encoded(grey), (8, 8, 3)), np.full((8, 8, 3), 77))
    colour = np.full((8, 8, 3), 77, np.uint8)
    np.testing.assert_array_equal(read(encoded(colour, "JPEG"), (8, 8, 1)), grey)


# ---- what is refused -----------------------------------------------------------------------------


def header_of(width, height):
    """A PNG of a few bytes that says it is large; nothing of it could be decoded."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expected an encoded JPEG or PNG"),
        (b"GIF89a", "expected an encoded JPEG or PNG"),
        (b"\x89PNG\r\n\x1a\n", "ends within its header"),
        (header_of(10_000, 10_000), "more than 25 megapixels"),
        (header_of(2**31 - 1, 2**31 - 1), "more than 25 megapixels"),
        (header_of(0, 5), "more than 25 megapixels"),
        (header_of(10, 10), "PNG"),
        (b"\xff\xd8\xff\xe0 nothing", "Invalid JPEG"),
        (encoded(smooth(64, 64), "JPEG")[:400], "JPEG"),
    ],
)
def test_a_picture_that_cannot_be_read_is_an_error_that_says_so(plain, data, words):
    good = encoded(images(1)[0])
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        plain["serving_bytes"](image_bytes=tf.constant([good, data]))
    assert len(plain["serving_bytes"](image_bytes=tf.constant([good]))["class_id"]) == 1


def test_a_jpeg_of_100_megapixels_is_refused_by_its_header(plain):
    small = bytearray(encoded(smooth(8, 8), "JPEG"))
    frame = small.index(b"\xff\xc0")
    small[frame + 5 : frame + 9] = struct.pack(">HH", 10_000, 10_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 25 megapixels"):
        plain["serving_bytes"](image_bytes=tf.constant([bytes(small)]))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 5, 4, 1), "expected uint8 .n, 4, 4, 1., got"),
        ((1, 4, 4, 3), "expected uint8 .n, 4, 4, 1., got"),
        ((1, 16, 1, 1), "expected uint8 .n, 4, 4, 1., got"),
        ((0, 4, 4, 1), "expected 1 to 1024 pictures in a request, got"),
        ((1025, 4, 4, 1), "expected 1 to 1024 pictures in a request, got"),
    ],
)
def test_pixels_of_another_shape_are_an_error_that_says_what_was_expected(plain, shape, words):
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        plain["serving_default"](images=tf.zeros(shape, tf.uint8))


def test_a_request_without_pictures_or_with_too_many_encoded_ones_is_refused(plain):
    for data in ([], [encoded(images(1)[0])] * 1025):
        with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes: expected 1 to 1024"):
            plain["serving_bytes"](image_bytes=tf.constant(data, tf.string))


def test_names_and_pictures_have_to_fit_the_networks():
    with pytest.raises(UserError, match="2 class names for 3 classes"):
        ServedEnsemble(tiny.ensemble(1), ("a", "b"), PictureReader(tiny.SHAPE))
    with pytest.raises(UserError, match="for networks of"):
        ServedEnsemble(tiny.ensemble(1), tiny.NAMES, PictureReader((8, 8, 1)))
    with pytest.raises(UserError, match="1 or 3 channels"):
        PictureReader((8, 8, 4))
