"""Layers against direct evaluations in NumPy, and through save, load and get_config."""

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf import layers
from gllmm_tf.model.context import EntropyParameters

RNG = np.random.default_rng(0)


def randomise(layer):
    for v in layer.weights:
        noise = RNG.normal(size=v.shape) * 0.2
        v.assign(v + noise if "gdn" not in v.name else v + np.abs(noise))
    return layer


def correlate(x, kernel, stride):
    """[H, W, C] with [k, k, C, D], zero padding (k - 1) / 2 on every side."""
    k = kernel.shape[0]
    padded = np.pad(x, [(k // 2, k // 2)] * 2 + [(0, 0)])
    rows, columns = range(0, x.shape[0], stride), range(0, x.shape[1], stride)
    return np.array(
        [
            [np.einsum("ijc,ijcd->d", padded[r : r + k, c : c + k], kernel) for c in columns]
            for r in rows
        ]
    )


@pytest.mark.parametrize("kernel_size, strides", [(1, 1), (3, 1), (5, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu"])
def test_conv(kernel_size, strides, activation):
    x = RNG.normal(size=(1, 6, 8, 3)).astype(np.float32)
    layer = layers.Conv2D(5, kernel_size, strides, activation=activation)
    layer(x)
    randomise(layer)
    wanted = correlate(x[0], layer.kernel.numpy(), strides) + layer.bias.numpy()
    slope = {None: 1, "relu": 0, "leaky_relu": 0.2}[activation]
    wanted = np.where(wanted > 0, wanted, slope * wanted)
    np.testing.assert_allclose(layer(x)[0], wanted, atol=1e-5)


def test_transposed_conv_is_zero_insertion_then_correlation():
    x = RNG.normal(size=(1, 3, 4, 2)).astype(np.float32)
    layer = layers.TransposedConv2D(5)
    layer(x)
    randomise(layer)
    stuffed = np.zeros((6, 8, 2))
    stuffed[::2, ::2] = x[0]
    wanted = correlate(stuffed, layer.kernel.numpy(), 1) + layer.bias.numpy()
    np.testing.assert_allclose(layer(x)[0], wanted, atol=1e-5)


def test_subpixel_conv_interleaves_four_maps():
    x = RNG.normal(size=(1, 3, 4, 2)).astype(np.float32)
    layer = layers.SubPixelConv2D(5)
    y = layer(x).numpy()[0]
    maps = correlate(x[0], layer.kernel.numpy(), 1).reshape(3, 4, 2, 2, 5)
    np.testing.assert_allclose(y, maps.transpose(0, 2, 1, 3, 4).reshape(6, 8, 5), atol=1e-5)


def test_causal_conv_sees_only_the_past():
    layer = layers.CausalConv2D(3)
    x = tf.Variable(RNG.normal(size=(1, 7, 9, 2)).astype(np.float32))
    row, column = 3, 4
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(layer(x)[0, row, column])
    seen = np.any(tape.gradient(y, x).numpy()[0] != 0, axis=-1)
    wanted = np.zeros((7, 9), bool)
    wanted[row - 2 : row, column - 2 : column + 3] = True
    wanted[row, column - 2 : column] = True
    np.testing.assert_array_equal(seen, wanted)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_formula(inverse):
    x = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32) * 3
    layer = layers.GDN(inverse=inverse)
    layer(x)
    randomise(layer)
    beta, gamma = layer.beta.numpy(), layer.gamma.numpy()
    norm = np.sqrt(beta + np.einsum("bhwj,ji->bhwi", x**2, gamma))
    np.testing.assert_allclose(layer(x), x * norm if inverse else x / norm, rtol=2e-5)


def test_concatenated_module_of_two_stages_is_2x_plus_two_residuals():
    x = RNG.normal(size=(1, 4, 4, 6)).astype(np.float32)
    module = layers.ConcatenatedResidualModule(6, stages=2)
    module(x)
    randomise(module)
    first, second = module.blocks
    t2 = first(x) - x
    t5 = second(x + t2) - (x + t2)
    np.testing.assert_allclose(module(x), 2 * x + t2 + t5, atol=1e-4)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="odd"):
        layers.Conv2D(4, kernel_size=2)
    with pytest.raises(ValueError, match="activation"):
        layers.Conv2D(4, activation="gelu")
    with pytest.raises(ValueError, match="at least 2"):
        layers.ConcatenatedResidualModule(4, stages=1)


def test_entropy_parameters_config_and_shape():
    layer = EntropyParameters(4, num_groups=9, widths=(8, 12))
    y_hat, phi = tf.zeros([2, 4, 4, 4]), tf.ones([2, 4, 4, 8])
    assert layer(y_hat, phi).shape == (2, 4, 4, 36)
    again = EntropyParameters.from_config(layer.get_config())
    again(y_hat, phi)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(y_hat, phi), layer(y_hat, phi))
