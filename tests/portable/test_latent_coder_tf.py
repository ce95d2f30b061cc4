"""Both backends write the same streams and read each other's."""

import os

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from conftest import DATA  # noqa: E402
from portable import latent_samples, random_models  # noqa: E402

from gllmm_tf.coding import empty_channels, fixed_point, wavefront  # noqa: E402
from gllmm_tf.coding import integer_mixture as tf_mixture  # noqa: E402
from gllmm_tf.coding import latent_coder as tf_coder  # noqa: E402
from gllmm_tf.portable import constants  # noqa: E402
from gllmm_tf.portable import latent_coder as np_coder  # noqa: E402
from gllmm_tf.zoo.model_file import ModelFile  # noqa: E402


def both(model_file):
    return tf_coder.LatentCoder(model_file), np_coder.LatentCoder(model_file)


def check(theirs, ours, y_hat, z_hat, index):
    """Streams, decoded symbols and information of both."""
    streams = ours.encode(y_hat, z_hat, index)
    assert tuple(streams) == tuple(theirs.encode(y_hat, z_hat, index))
    shape = z_hat.shape[:2]
    for latents in (ours.decode(streams, shape, index), theirs.decode(streams, shape, index)):
        np.testing.assert_array_equal(latents.y_hat, y_hat)
        np.testing.assert_array_equal(latents.z_hat, z_hat)
    bits = [coder.information_bits(y_hat, z_hat, index) for coder in (theirs, ours)]
    np.testing.assert_allclose(*bits, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "empty_rows"), [("variable", True), ("widths", False), ("cheng2020", False)]
)
def test_random_models(name, empty_rows):
    theirs, ours = both(random_models.model_file(name, empty_rows=empty_rows))
    for i, shape in enumerate([(4, 4), (8, 20), (40, 24)]):
        index = i * 13 if ours.highest_index else 0
        y_hat, z_hat = latent_samples.latents(ours.config, shape, seed=i)
        check(theirs, ours, y_hat, z_hat, index)
        check(theirs, ours, np.zeros_like(y_hat), z_hat, index)
        np.testing.assert_array_equal(ours.phi(z_hat, index), theirs.phi(z_hat, index))


def test_the_golden_model():
    theirs, ours = both(ModelFile.read(os.path.join(DATA, "golden_model.npz")))
    for index in (0, 37, 112):
        check(theirs, ours, *latent_samples.latents(ours.config, (12, 16), seed=index), index)


def test_mixtures():
    theirs, ours = both(random_models.model_file("variable"))
    y_hat, z_hat = latent_samples.latents(ours.config, (8, 8))
    wanted = theirs.integer_mixture(tf.constant(y_hat), tf.constant(z_hat), 5)
    mixture = ours.integer_mixture(y_hat, z_hat, 5)
    parts = np.stack([mixture.weights, mixture.means, mixture.scales])
    np.testing.assert_array_equal(parts, wanted.parts)
    np.testing.assert_array_equal(mixture.total, wanted.total)
    np.testing.assert_array_equal(mixture.centre(), wanted.centre())


def test_the_numbers_of_the_format():
    """`portable.constants` repeats what the TensorFlow modules hold."""
    for name in ("ACTIVATION_BITS", "PARAMETER_BITS", "GAIN_BITS"):
        assert getattr(constants, name) == getattr(fixed_point, name), name
    for name in ("WEIGHT_BITS", "FRACTION_BITS", "POSITION_BITS", "SCALE_MIN"):
        assert getattr(constants, name) == getattr(tf_mixture, name), name
    assert constants.TAPS == wavefront.TAPS and constants.REACH == wavefront.REACH
    pairs = {
        "EMPTY": "NAME",
        "EMPTY_DEFAULT": "DEFAULT",
        "EMPTY_SMALLEST": "SMALLEST",
        "EMPTY_SIZES": "SIZES",
        "EMPTY_ROWS": "ROWS",
        "EMPTY_MOVE_BITS": "MOVE_BITS",
    }
    for ours, theirs in pairs.items():
        assert getattr(constants, ours) == getattr(empty_channels, theirs), ours
