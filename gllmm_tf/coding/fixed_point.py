"""The networks between decoded integers and the coder, in arithmetic that cannot round differently.

Every number here is an integer held in a float64. Kernels are int16 with one power of two per layer,
activations are rounded to a grid and clipped, so that each product and each partial sum is exactly
representable (below 2^53): any order of summation, fused or not, on any machine, gives the same
result. What follows a sum is +, -, x, a comparison or rounding of such integers, element by element.

    stored kernel  K = round(kernel 2^B),   |K| < 2^15,  B per layer
    activation     a = round(value 2^8),    |a| <= 2^19
    layer          a' = clip(round(2^-B (sum a K + bias)))

Bounds: |a K| < 2^34 and at most 2^15 products per output (N <= 1024) give sums below 2^50.
"""

import numpy as np
import tensorflow as tf

ACTIVATION_BITS = 8
ACTIVATION_LIMIT = 2.0**19
SYMBOL_LIMIT = 2.0**15  # decoded integers are clipped to this where they enter a network
PARAMETER_BITS = 12  # the mixture's parameters are multiples of 2^-12 ...
PARAMETER_LIMIT = 2.0**28  # ... and at most 2^16
KERNEL_BITS = 15
MAX_EXPONENT = 20
SLOPE, SLOPE_BITS = 13107.0, 16  # leaky ReLU: 13107 / 2^16 = 0.199997
GAIN_BITS = 12  # inverse gains of z are multiples of 2^-12
QUALITY_STEPS = 16  # qualities are coded in sixteenths

_F64 = tf.float64


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


def quantise_networks(model):
    """`{name: array}` of everything that decoding of symbols depends on, from a trained model.

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
    arrays["z/cdf"], arrays["z/offset"] = model.z_bottleneck.tables()
    if model.gains is not None:
        steps = QUALITY_STEPS * (model.config.num_qualities - 1) + 1
        quality = tf.constant(1 + np.arange(steps) / QUALITY_STEPS, tf.float32)
        _, _, _, inverse, offset = (t.numpy()[:, 0, 0] for t in model.gains(quality))
        inverse = np.round(inverse.astype(np.float64) * 2.0**GAIN_BITS)
        arrays["z/inverse_gain"] = np.clip(inverse, 0, 2**24).astype(np.int32)
        offset = np.round(offset.astype(np.float64) * 2.0**ACTIVATION_BITS)
        arrays["phi/offset"] = np.clip(offset, -ACTIVATION_LIMIT, ACTIVATION_LIMIT).astype(np.int32)
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
    return tf.maximum(value, tf.round(value * SLOPE * 2.0**-SLOPE_BITS))


class _Layer:
    def __init__(self, arrays, name):
        self.kernel = tf.constant(arrays[f"{name}/kernel"], _F64)
        self.bias = tf.constant(arrays[f"{name}/bias"], _F64)
        self.exponent = int(arrays[f"{name}/exponent"])


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
        # The first hidden layer reads [context, phi].
        self._from_context, self._from_phi = tf.split(self._hidden[0].kernel, 2)
        self._inverse_gain = self._phi_offset = None
        if "z/inverse_gain" in arrays:
            self._inverse_gain = tf.constant(arrays["z/inverse_gain"], _F64)
            self._phi_offset = tf.constant(arrays["phi/offset"], _F64)

    def hyper_synthesis(self, z_hat, quality_index):
        """z_hat, float64 integers [h/4, w/4, N]; quality_index, int32 scalar. Returns phi [h, w, 2 N]."""
        z_hat = tf.clip_by_value(z_hat, -SYMBOL_LIMIT, SYMBOL_LIMIT)
        if self._inverse_gain is None:
            x = z_hat * 2.0**ACTIVATION_BITS
        else:
            product = z_hat * tf.gather(self._inverse_gain, quality_index)
            x = tf.round(product * 2.0 ** (ACTIVATION_BITS - GAIN_BITS))
        x = tf.clip_by_value(x, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        for i, layer in enumerate(self._h_s):
            if i in (1, 3):
                x = _insert_zeros(x)
            x = _requantise(_correlate3x3(x, layer.kernel) + layer.bias, layer.exponent)
            if i < 4:
                x = _leaky_relu(x)
        if self._phi_offset is not None:
            x += tf.gather(self._phi_offset, quality_index)
        return tf.clip_by_value(x, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)

    def select(self, channels):
        """The context and the last layer for some channels of y only: those that are not all zero.

        Channels left out are zero in y_hat and so contribute nothing to any context. Returns
        (context kernel [12 n, 2 N], last kernel [1280, groups n]) for int32 `channels` [n].
        """
        context = tf.gather(self._context.kernel, channels, axis=1)
        last = tf.reshape(self._last.kernel, [-1, self.num_groups, self.num_filters])
        last = tf.gather(last, channels, axis=2)
        return (
            tf.reshape(context, [-1, 2 * self.num_filters]),
            tf.reshape(last, [tf.shape(last)[0], -1]),
        )

    def phi_part(self, phi):
        """phi's share of the first hidden layer's sums, [..., width]: the same for any order of adding."""
        return _matmul(phi, self._from_phi) + self._hidden[0].bias

    def parameters(self, context, phi_part, selected):
        """The mixture's raw parameters.

        Args:
            context: float64 integers [P, 12 n], the causal neighbours of P positions in raster order
                of the taps, n channels each.
            phi_part: `phi_part(phi)` at these positions, [P, width].
            selected: `select(channels)`.

        Returns:
            float64 integers [P, groups, n] in units of 2^-12.
        """
        context_kernel, last_kernel = selected
        context = tf.clip_by_value(context, -SYMBOL_LIMIT, SYMBOL_LIMIT)
        total = tf.matmul(context, context_kernel) + self._context.bias
        x = _requantise(total, self._context.exponent - ACTIVATION_BITS)
        first, second = self._hidden
        total = tf.matmul(x, self._from_context) + phi_part
        x = _leaky_relu(_requantise(total, first.exponent))
        total = tf.matmul(x, second.kernel) + second.bias
        x = _leaky_relu(_requantise(total, second.exponent))
        total = tf.matmul(x, last_kernel)
        shift = ACTIVATION_BITS + self._last.exponent - PARAMETER_BITS
        value = tf.round(total * 2.0**-shift)
        value = tf.clip_by_value(value, -PARAMETER_LIMIT, PARAMETER_LIMIT)
        return tf.reshape(value, [tf.shape(value)[0], self.num_groups, -1])


def _matmul(x, kernel):
    """[..., C] times [C, D] without a rank-dependent kernel."""
    flat = tf.matmul(tf.reshape(x, [-1, tf.shape(kernel)[0]]), kernel)
    return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [tf.shape(kernel)[1]]], 0))


def _insert_zeros(x):
    """[h, w, C] to [2 h, 2 w, C]: the samples at even rows and columns, zeros elsewhere."""
    x = tf.stack([x, tf.zeros_like(x)], 2)  # [h, w, 2, C]
    x = tf.stack([x, tf.zeros_like(x)], 1)  # [h, 2, w, 2, C]
    shape = tf.shape(x)
    return tf.reshape(x, [2 * shape[0], 2 * shape[2], shape[4]])


def _correlate3x3(x, kernel):
    """Zero-padded correlation of [h, w, C] with [3, 3, C, D] as nine matrix products.

    A convolution routine might choose Winograd or Fourier transforms, which are not exact.
    """
    height, width = tf.shape(x)[0], tf.shape(x)[1]
    padded = tf.pad(x, [[1, 1], [1, 1], [0, 0]])
    total = tf.zeros([height, width, tf.shape(kernel)[3]], _F64)
    for row in range(3):
        for column in range(3):
            shifted = padded[row : row + height, column : column + width]
            total += _matmul(shifted, kernel[row, column])
    return total
