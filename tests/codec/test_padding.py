"""The continuation of a picture to multiples of 64."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.common.coders import ExperimentError
from experiments.rate_distortion import padding_cost
from gllmm_tf import Codec
from gllmm_tf.codec import padding, pixels
from gllmm_tf.export import padding_graph


def drawn(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def continued(line, count):
    """The formula of the module, pixel by pixel: [n, 3] to [n, count, 3]."""
    out, mirrored = np.zeros((len(line), count, 3)), np.concatenate([line, line[::-1]])
    for i in range(len(line)):
        for d in range(1, count + 1):
            places = np.arange(i - 64, i + 65)
            weights = d / (d * d + (places - i) ** 2)
            out[i, d - 1] = weights @ mirrored[places % len(mirrored)] / weights.sum()
    return np.round(out).astype(np.uint8)


def reference(image):
    height, width = image.shape[:2]
    image = np.concatenate([image, continued(image[:, -1], -width % 64)], 1)
    bottom = continued(image[-1], -height % 64).transpose(1, 0, 2)
    return np.concatenate([image, bottom], 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (63, 64), (64, 128), (100, 65)])
def test_formula(size):
    image = drawn(*size)
    np.testing.assert_array_equal(padded(image), reference(image))


def padded(image):
    right, bottom = padding.strips(image)
    return np.concatenate([np.concatenate([image, right], 1), bottom], 0)


def test_graph_does_the_same():
    graph = tf.function(
        padding_graph.pad, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)]
    )
    for size in ((1, 1), (3, 200), (64, 64), (129, 30)):
        image = drawn(*size)
        np.testing.assert_array_equal(graph(image), padded(image))


def test_flat_stays_flat_and_detail_fades():
    flat = np.full((70, 5, 3), (0, 255, 77), np.uint8)
    np.testing.assert_array_equal(padded(flat), np.full((128, 64, 3), (0, 255, 77)))
    noise = padded(drawn(300, 10))[:300]
    spread = noise.std(0).mean(-1)
    assert spread[9] > 60 and spread[10] > 20  # the border goes on ..
    assert np.all(np.diff(spread[9:40]) < 1) and spread[40] < 8  # .. and its detail does not


def test_parts_are_those_of_the_whole():
    for size in ((100, 200), (64, 65), (65, 64), (128, 64), (1, 1)):
        image = drawn(*size)
        whole = padded(image) / np.float32(255)
        shape, read = pixels.reader(image)
        assert shape == whole.shape[:2]
        for r in (slice(0, shape[0]), slice(3, 40), slice(60, 64), slice(shape[0] - 1, shape[0])):
            for c in (slice(0, shape[1]), slice(7, 64), slice(shape[1] - 2, shape[1])):
                part = read(r, c)
                np.testing.assert_allclose(part, whole[r, c], rtol=1e-6)


def test_worth_of_real_files(sample_pixels):
    own = Codec.load()
    image = sample_pixels[:90, :75]
    rows = {row["padding"]: row for row in padding_cost.measure(own, image, 4.0)}
    assert rows["continued"]["bytes"] == len(own.compress(image, 4.0))
    reflected = np.pad(image, [(0, 38), (0, 53), (0, 0)], "reflect")
    assert rows["reflected"]["bytes"] == len(own.compress(reflected, 4.0))
    assert rows["reflected"]["worth"] == 0
    assert rows["continued"]["worth"] > 10
    assert rows["continued"]["cost"] < rows["repeated"]["cost"] < rows["reflected"]["cost"]


def test_squares_and_table():
    image = drawn(21, 30)
    parts = padding_cost.squares(image, 10)
    assert len(parts) == 6
    np.testing.assert_array_equal(parts[5], image[10:20, 20:30])
    with pytest.raises(ExperimentError, match="no 22 x 22 pixels"):
        padding_cost.squares(image, 22)
    row = dict(side=10, quality=2.0, padding="continued", bytes=10, psnr=30.0, worth=4.0)
    lines = padding_cost.format_table([row, dict(row, bytes=20), dict(row, quality=5.0)])
    assert [line.split()[:4] for line in lines.splitlines()[1:]] == [
        ["10", "2", "continued", "15"],
        ["10", "5", "continued", "10"],
    ]
