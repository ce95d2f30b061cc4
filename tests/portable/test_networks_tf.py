"""Transforms, tiles, padding and gains against the TensorFlow backend's."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
tf = pytest.importorskip("tensorflow")

from portable import random_models  # noqa: E402
from portable.test_transforms import PARTS  # noqa: E402

from gllmm_tf.codec import networks as tf_networks  # noqa: E402
from gllmm_tf.codec.regions import Span  # noqa: E402
from gllmm_tf.codec.tensorflow_tiling import TensorFlowTransform  # noqa: E402
from gllmm_tf.codec.tiling import spans_of_path  # noqa: E402
from gllmm_tf.model import transforms as tf_transforms  # noqa: E402
from gllmm_tf.portable import networks  # noqa: E402
from gllmm_tf.portable.tiling import PortableTransform  # noqa: E402


def keras_path(part, config):
    if part == "h_a":
        return tf_transforms.HyperAnalysisTransform(config.z_filters)
    kind = {"g_a": tf_transforms.AnalysisTransform, "g_s": tf_transforms.SynthesisTransform}
    trunk = config.stages, config.trunk_widths, config.deep_filters
    return kind[part](config.num_filters, *trunk)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", list(random_models.CONFIGS))
def test_layers_and_weights(part, name):
    """The same weights in the same places: Keras' outputs on random input."""
    model = random_models.model_file(name)
    before = 3 if part == "g_a" else model.config.num_filters
    x = np.random.default_rng(2).normal(size=(1, 32, 48, before)).astype(np.float32)
    layer = keras_path(part, model.config)
    layer(tf.zeros([1, 16, 16, before]))
    model.assign(part, layer)
    wanted = layer(tf.constant(x)).numpy()
    path = PARTS[part][0](model.config, model.weights[part])
    y = PortableTransform(path, before).whole()(x.transpose(0, 3, 1, 2))
    error = np.abs(y.transpose(0, 2, 3, 1) - wanted).max()
    assert error < 3e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", list(random_models.CONFIGS))
def test_the_same_tiles(part, name):
    """Overlaps, spans and lengths of tiles are those of the Keras layers."""
    model = random_models.model_file(name)
    before = 3 if part == "g_a" else model.config.num_filters
    ours = PARTS[part][0](model.config, model.weights[part])
    layer = keras_path(part, model.config)
    theirs = TensorFlowTransform(layer.path, tf.zeros([1, 16, 16, before]))
    ours_tiled = PortableTransform(ours, before)
    assert ours_tiled.bytes_per_sample() == theirs.bytes_per_sample()
    for size, region in ((320, None), (320, (3, 7)), (640, (19, 20))):
        spans = [
            spans_of_path(path, size, region and Span(*region)) for path in (ours, list(layer.path))
        ]
        assert spans[0] == spans[1]
        for args in (((size, 160), 96, None), ((64, size), 32, None)):
            assert ours_tiled.num_tiles(*args) == theirs.num_tiles(*args)
    for memory in (1 << 20, 30 << 20):
        args = (320, 480), memory, 16
        assert ours_tiled.tile_length(*args) == theirs.tile_length(*args)


def test_the_same_gains():
    for name in random_models.CONFIGS:
        model = random_models.model_file(name)
        ours, theirs = networks.PixelNetworks(model), tf_networks.PixelNetworks(model)
        for index in (0, 1, 16, 27, 32) if model.config.lambdas else (0,):
            for a, b in zip(ours.gains(index), theirs.gains(index)):
                np.testing.assert_allclose(a, np.reshape(b, -1) + 0 * a, rtol=1e-6)
            np.testing.assert_allclose(
                ours.inverse_gain(index), theirs.inverse_gain(index), rtol=1e-6
            )
