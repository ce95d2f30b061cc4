"""The networks between decoded integers and the coder, in arithmetic that cannot round differently.

Kernels are int16 with one power of two per layer, activations are integers on a grid, clipped. Every
product and every partial sum is exactly representable: sums in float32 by short digits
(`exact_product`), and what adds the digits up in float64, below 2^53. Any order of summation, fused or
not, on any machine, gives the same result. What follows a sum is +, -, x, a comparison or rounding of
such integers, element by element.

    stored kernel  K = round(kernel 2^B),   |K| < 2^15,  B per layer
    activation     a = round(value 2^8),    |a| <= 2^19
    layer          a' = clip(round(2^-B (sum a K + bias)))

Bounds: |a K| < 2^34 and at most 2^15 products per output (N <= 1024) give sums below 2^50.
Memory beyond inputs and outputs is bounded: h_s works on bands of rows.
"""

import numpy as np
import tensorflow as tf

from gllmm_tf.coding import empty_channels, exact_product
from gllmm_tf.config import QUALITY_STEPS

ACTIVATION_BITS = 8
ACTIVATION_LIMIT = 2.0**exact_product.ACTIVATION_LIMIT_BITS
SYMBOL_LIMIT = 2.0**15  # decoded integers are clipped to this where they enter a network
PARAMETER_BITS = 12  # the mixture's parameters are multiples of 2^-12 ...
PARAMETER_LIMIT = 2.0**28  # ... and at most 2^16
KERNEL_BITS = 15
MAX_EXPONENT = 20
SLOPE, SLOPE_BITS = 13107.0, 16  # leaky ReLU: 13107 / 2^16 = 0.199997
GAIN_BITS = 12  # inverse gains of z are multiples of 2^-12
BAND_POSITIONS = 4096  # of one band in h_s

_F32, _F64 = tf.float32, tf.float64


def quantise_layer(kernel, bias, input_bits=ACTIVATION_BITS):
    """Rounds float parameters: returns (int16 kernel, int64 bias, exponent B).

    The bias is in the unit of the sums, 2^-(input_bits + B).
    """
    kernel = np.asarray(kernel, np.float64)
    largest = float(np.max(np.abs(kernel)))
    room = (2**KERNEL_BITS - 1) / largest if largest > 0 else np.inf
    exponent = int(min(MAX_EXPONENT, np.floor(np.log2(room))))
    rounded = np.round(kernel * 2.0**exponent).astype(np.int16)
    if bias is None:
        bias = np.zeros(kernel.shape[-1])
    bias = np.round(np.asarray(bias, np.float64) * 2.0 ** (input_bits + exponent))
    return rounded, np.clip(bias, -(2.0**45), 2.0**45).astype(np.int64), exponent


def quantise_networks(model, empty_rows=None):
    """`{name: array}` of everything that decoding of symbols depends on, from a trained model.

    `empty_rows` is what `empty_channels.fit` returns, stored as `y/empty` if it is not None.

    Layers `h_s/0..4`, `context`, `hidden/0`, `hidden/1` and `last`, each with `/kernel`, `/bias` and
    `/exponent`; the factorised model's tables `z/cdf`, `z/offset`; for variable rate the tables
    `z/inverse_gain` and `phi/offset` with one row per sixteenth of a quality.
    """
    arrays = {}

    def put(name, kernel, bias, input_bits=ACTIVATION_BITS):
        kernel, bias, exponent = quantise_layer(kernel, bias, input_bits)
        arrays[f"{name}/kernel"] = kernel
        arrays[f"{name}/bias"] = bias
        arrays[f"{name}/exponent"] = np.int32(exponent)

    for i, layer in enumerate(model.h_s.path):
        put(f"h_s/{i}", layer.kernel.numpy(), layer.bias.numpy())
    entropy = model.entropy_parameters
    context = entropy.context.kernel.numpy()
    taps = context.shape[0] ** 2 // 2
    context = context.reshape((-1,) + context.shape[2:])[:taps]  # [12, N, 2N], raster order
    put("context", context, entropy.context.bias.numpy(), input_bits=0)
    for name, layer in zip(("hidden/0", "hidden/1", "last"), [*entropy.hidden, entropy.last]):
        bias = None if layer.bias is None else layer.bias.numpy()
        put(name, layer.kernel.numpy()[0, 0], bias)
    if model.z_bottleneck is not None:  # an enhancement layer has no z
        arrays["z/cdf"], arrays["z/offset"] = model.z_bottleneck.tables()
    if model.gains is not None:
        steps = QUALITY_STEPS * (model.config.num_qualities - 1) + 1
        quality = tf.constant(1 + np.arange(steps) / QUALITY_STEPS, tf.float32)
        _, _, _, inverse, offset = (t.numpy()[:, 0, 0] for t in model.gains(quality))
        inverse = np.round(inverse.astype(np.float64) * 2.0**GAIN_BITS)
        arrays["z/inverse_gain"] = np.clip(inverse, 0, 2**24).astype(np.int32)
        offset = np.round(offset.astype(np.float64) * 2.0**ACTIVATION_BITS)
        arrays["phi/offset"] = np.clip(offset, -ACTIVATION_LIMIT, ACTIVATION_LIMIT).astype(np.int32)
    if empty_rows is not None:
        arrays[empty_channels.NAME] = empty_rows
    return arrays


def restore_networks(model, arrays):
    """The inverse of `quantise_networks` for the float layers of a built model."""

    def get(name, layer, input_bits=ACTIVATION_BITS):
        exponent = int(arrays[f"{name}/exponent"])
        if layer.bias is not None:
            layer.bias.assign(arrays[f"{name}/bias"] * 2.0 ** -(input_bits + exponent))
        return arrays[f"{name}/kernel"] * 2.0**-exponent

    for i, layer in enumerate(model.h_s.path):
        layer.kernel.assign(get(f"h_s/{i}", layer))
    entropy = model.entropy_parameters
    kernel = np.zeros(entropy.context.kernel.shape, np.float32)
    taps = get("context", entropy.context, input_bits=0)
    kernel.reshape((-1,) + kernel.shape[2:])[: len(taps)] = taps
    entropy.context.kernel.assign(kernel)
    for name, layer in zip(("hidden/0", "hidden/1", "last"), [*entropy.hidden, entropy.last]):
        layer.kernel.assign(get(name, layer)[None, None])


def _requantise(total, shift):
    """Sums in units of 2^-(bits + shift) to activations in units of 2^-bits."""
    value = tf.round(total * 2.0**-shift)
    return tf.clip_by_value(value, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)


def _leaky_relu(value):
    return tf.maximum(value, tf.round(value * (SLOPE * 2.0**-SLOPE_BITS)))


class _Layer:
    """Attributes: kernel, int16; bias, float64; exponent B; bits: log2 of the activations' base."""

    def __init__(self, arrays, name):
        self.kernel = tf.constant(arrays[f"{name}/kernel"], tf.int16)
        self.bias = tf.constant(arrays[f"{name}/bias"], _F64)
        self.exponent = int(arrays[f"{name}/exponent"])
        self.bits = exact_product.digit_bits(arrays[f"{name}/kernel"])

    def split(self):
        """The whole kernel's digits, float32 [rows, 2 columns]."""
        return exact_product.split_kernel(tf.reshape(self.kernel, [-1, self.kernel.shape[-1]]))


class FixedPointNetworks:
    """h_s, the context model and the entropy parameters on integers.

    Attributes:
        num_filters: N.
        num_groups: Entropy parameters per latent element.
    """

    def __init__(self, arrays, num_filters, num_groups):
        self.num_filters = num_filters
        self.num_groups = num_groups
        self._h_s = [_Layer(arrays, f"h_s/{i}") for i in range(5)]
        self._context = _Layer(arrays, "context")
        self._hidden = [_Layer(arrays, f"hidden/{i}") for i in range(2)]
        self._last = _Layer(arrays, "last")
        self._inverse_gain = self._phi_offset = None
        if "z/inverse_gain" in arrays:
            self._inverse_gain = tf.constant(arrays["z/inverse_gain"], _F64)
            self._phi_offset = tf.constant(arrays["phi/offset"], _F64)
        shape = (1, empty_channels.SIZES, num_filters)
        rows = np.full(shape, empty_channels.row_of(empty_channels.DEFAULT))
        self._empty_rows = tf.constant(arrays.get(empty_channels.NAME, rows), tf.int32)
        self._rows_move = empty_channels.NAME in arrays

    def flag_rows(self, quality_index, positions):
        """Rows of the decision table for the flags of empty channels.

        Args:
            quality_index: int32 scalar.
            positions: Positions of y, int32 scalar.

        Returns:
            (int32 [N], bool: whether the flags move them).
        """
        size = empty_channels.size_class(positions)
        quality = (quality_index + QUALITY_STEPS // 2) // QUALITY_STEPS
        quality = tf.minimum(quality, self._empty_rows.shape[0] - 1)  # one row without a table
        return self._empty_rows[quality, size], self._rows_move

    def hyper_synthesis(self, z_hat, quality_index):
        """phi of z_hat.

        Args:
            z_hat: float64 integers [h/4, w/4, N].
            quality_index: int32 scalar.

        Returns:
            float32 integers [h, w, 2 N] in units of 2^-8.
        """
        z_hat = tf.clip_by_value(z_hat, -SYMBOL_LIMIT, SYMBOL_LIMIT)
        if self._inverse_gain is None:
            x = z_hat * 2.0**ACTIVATION_BITS
        else:
            product = z_hat * tf.gather(self._inverse_gain, quality_index)
            x = tf.round(product * 2.0 ** (ACTIVATION_BITS - GAIN_BITS))
        x = tf.cast(tf.clip_by_value(x, -ACTIVATION_LIMIT, ACTIVATION_LIMIT), _F32)
        for i, layer in enumerate(self._h_s):
            if i in (1, 3):
                x = _insert_zeros(x)

            def finish(total, layer=layer, last=i == 4):
                value = _requantise(total + layer.bias, layer.exponent)
                if not last:
                    value = _leaky_relu(value)
                elif self._phi_offset is not None:
                    value += tf.gather(self._phi_offset, quality_index)
                    value = tf.clip_by_value(value, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
                return tf.cast(value, _F32)

            x = _correlate3x3(x, layer, finish)
        return x

    def select(self, channels):
        """The kernels of the entropy parameters for some channels of y only: those not all zero.

        Channels left out are zero in y_hat and so contribute nothing to any context.

        Args:
            channels: int32 [n].

        Returns:
            (context, hidden 0, hidden 1, last), digits of the kernels [12 n, 2 N], [4 N, width],
            [width, width'] and [width', groups n].
        """
        context = tf.gather(self._context.kernel, channels, axis=1)
        last = tf.reshape(self._last.kernel, [-1, self.num_groups, self.num_filters])
        last = tf.gather(last, channels, axis=2)
        return (
            exact_product.split_kernel(tf.reshape(context, [-1, 2 * self.num_filters])),
            *(layer.split() for layer in self._hidden),
            exact_product.split_kernel(tf.reshape(last, [tf.shape(last)[0], -1])),
        )

    def parameters(self, context, phi, selected):
        """The mixture's raw parameters.

        Args:
            context: float32 integers [P, 12 n], the causal neighbours of P positions in raster order
                of the taps, n channels each.
            phi: float32 integers [P, 2 N], `hyper_synthesis` at these positions.
            selected: `select(channels)`.

        Returns:
            float64 integers [P, groups, n] in units of 2^-12.
        """
        context_kernel, *hidden_kernels, last_kernel = selected
        context = tf.clip_by_value(context, -SYMBOL_LIMIT, SYMBOL_LIMIT)
        total = exact_product.multiply(context, context_kernel, self._context.bits)
        x = _requantise(total + self._context.bias, self._context.exponent - ACTIVATION_BITS)
        x = tf.concat([tf.cast(x, _F32), phi], 1)
        for layer, kernel in zip(self._hidden, hidden_kernels):
            total = exact_product.multiply(x, kernel, layer.bits) + layer.bias
            x = tf.cast(_leaky_relu(_requantise(total, layer.exponent)), _F32)
        total = exact_product.multiply(x, last_kernel, self._last.bits)
        shift = ACTIVATION_BITS + self._last.exponent - PARAMETER_BITS
        value = tf.round(total * 2.0**-shift)
        value = tf.clip_by_value(value, -PARAMETER_LIMIT, PARAMETER_LIMIT)
        return tf.reshape(value, [tf.shape(value)[0], self.num_groups, -1])


def _insert_zeros(x):
    """[h, w, C] to [2 h, 2 w, C]: the samples at even rows and columns, zeros elsewhere."""
    x = tf.stack([x, tf.zeros_like(x)], 2)  # [h, w, 2, C]
    x = tf.stack([x, tf.zeros_like(x)], 1)  # [h, 2, w, 2, C]
    shape = tf.shape(x)
    return tf.reshape(x, [2 * shape[0], 2 * shape[2], shape[4]])


def _correlate3x3(x, layer, finish):
    """Zero-padded correlation of float32 integers [h, w, C] with the layer's kernel [3, 3, C, D].

    As matrix products: a convolution routine might choose Winograd or Fourier transforms, which are
    not exact. Band by band of rows; `finish` maps the float64 sums [M, D] to the result.
    """
    height, width = tf.shape(x)[0], tf.shape(x)[1]
    kernel = layer.split()
    padded = tf.pad(x, [[1, 1], [1, 1], [0, 0]])
    rows = tf.maximum(1, BAND_POSITIONS // width)
    count = (height + rows - 1) // rows

    def band(i, bands):
        top = i * rows
        bottom = tf.minimum(top + rows, height)
        digits = exact_product.split_activations(padded[top : bottom + 2], layer.bits)
        taps = [
            digits[:, row : bottom - top + row, column : column + width]
            for row in range(3)
            for column in range(3)
        ]
        patches = tf.reshape(tf.concat(taps, 3), [-1, kernel.shape[0]])
        products = tf.matmul(patches, kernel)
        products = tf.reshape(products, [tf.shape(digits)[0], -1, kernel.shape[1]])
        return i + 1, bands.write(i, finish(exact_product.join(products, layer.bits)))

    bands = tf.TensorArray(
        _F32, count, element_shape=[None, layer.kernel.shape[3]], infer_shape=False
    )
    _, bands = tf.while_loop(
        lambda i, _: i < count, band, (tf.constant(0), bands), parallel_iterations=1
    )
    return tf.reshape(bands.concat(), [height, width, layer.kernel.shape[3]])
