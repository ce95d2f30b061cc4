"""Convolutions with the alignment of tensorflow-compression's `SignalConv2D`.

All kernels have shape (height, width, in, out) and are correlated with the input. Zero padding is
symmetric: output `i` of a stride-2 layer is centred on input `2 i`, whereas Keras' "same" padding
would centre it half a sample later for even sizes. A layer that the published code declares with
`corr=False` is the same layer with its kernel reversed along both spatial axes.
"""

from __future__ import annotations

import random
from typing import Any

import tensorflow as tf


def he_uniform(gain: float = 1.0) -> tf.keras.initializers.Initializer:
    """Kernel initialiser whose output has `gain` times the variance of the input (leaky ReLU 0.2)."""
    seed = random.randint(1, 10**9)  # as Keras draws it, which fails under Python 3.12
    return tf.keras.initializers.VarianceScaling(gain * 2 / 1.04, "fan_in", "uniform", seed=seed)


def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """max(x, 0.2 x), element by element."""
    return _leaky_relu_bfloat16(x) if x.dtype == tf.bfloat16 else tf.nn.leaky_relu(x, 0.2)


@tf.custom_gradient
def _leaky_relu_bfloat16(x):
    """The gradient of leaky ReLU in bfloat16 by way of ReLU's, whose CPU kernel is much faster."""
    y = tf.nn.leaky_relu(x, 0.2)

    def gradient(dy):
        positive = tf.raw_ops.ReluGrad(gradients=dy, features=y)
        return positive + tf.constant(0.2, dy.dtype) * (dy - positive)

    return y, gradient


ACTIVATIONS = {None: tf.identity, "relu": tf.nn.relu, "leaky_relu": leaky_relu}


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class Conv2D(tf.keras.layers.Layer):
    """Zero-padded 2-D correlation, optional bias, optional activation f.

        y[r, c, o] = f(bias[o] + sum_(i, j, n) kernel[i, j, n, o] x[s r + i - p, s c + j - p, n])

    with i, j = 0..k-1, stride s and p = (k - 1) / 2; x is 0 outside.

    Input: float [B, H, W, C]. Output: float [B, H / strides, W / strides, filters]; H and W are
    multiples of `strides`.

    Attributes:
        filters: Output channels.
        kernel_size: Odd height and width of the kernel.
        strides: 1 or 2.
        use_bias: Whether a bias is added.
        activation: None, "relu" or "leaky_relu" (slope 0.2).
        gain: Variance gain at initialisation.

    Raises:
        ValueError: another kernel size, stride or activation.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        strides: int = 1,
        use_bias: bool = True,
        activation: str | None = None,
        gain: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if kernel_size % 2 != 1 or strides not in (1, 2):
            raise ValueError(
                f"kernel_size must be odd and strides 1 or 2, not {kernel_size} and {strides}"
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}, it must be one of {list(ACTIVATIONS)}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.use_bias = use_bias
        self.activation = activation
        self.gain = gain

    def build(self, input_shape):
        shape = (self.kernel_size, self.kernel_size, int(input_shape[-1]), self.filters)
        self.kernel = self.add_weight("kernel", shape, initializer=he_uniform(self.gain))
        self.bias: Any = None
        if self.use_bias:
            self.bias = self.add_weight("bias", (self.filters,), initializer="zeros")
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self._finish(self._convolve(x, tf.convert_to_tensor(self.kernel)))

    def _convolve(self, x, kernel):
        if self.strides == 1:
            return tf.nn.conv2d(x, kernel, 1, "SAME")
        if self.kernel_size == 1:
            # The same function as a strided convolution, whose gradient corrupts memory in
            # TensorFlow 2.14.1 (oneDNN, 3 input channels).
            return tf.nn.conv2d(x[:, :: self.strides, :: self.strides], kernel, 1, "SAME")
        pad = self.kernel_size // 2
        # The last row and column that symmetric padding would add are never reached. A convolution
        # with explicit padding would have its gradients outside oneDNN, a third of a training step.
        border = [pad, pad - self.strides + 1]
        x = tf.pad(x, [[0, 0], border, border, [0, 0]])
        return tf.nn.conv2d(x, kernel, self.strides, "VALID")

    def _finish(self, x):
        if self.bias is not None:
            x = tf.nn.bias_add(x, self.bias)
        return ACTIVATIONS[self.activation](x)

    def get_config(self):
        fields = ("filters", "kernel_size", "strides", "use_bias", "activation", "gain")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class CausalConv2D(Conv2D):
    """Type A masked convolution of van den Oord et al. (2016, arXiv 1601.06759).

    Output (r, c) sees inputs in the rows above r, and left of c in row r; never (r, c) itself. The
    stored kernel is the full one, as in the published checkpoints; the mask is applied in `call`.
    Input and output: float [B, H, W, .].
    """

    def __init__(self, filters: int, kernel_size: int = 5, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        if self.strides != 1:
            raise ValueError(f"a causal convolution has strides 1, not {self.strides}")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        return self._finish(self._convolve(x, kernel * self.mask(kernel.dtype)))

    def mask(self, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """[k, k, 1, 1]: 1 for the k^2 // 2 taps before the centre in raster order, else 0."""
        size = self.kernel_size
        taps = [float(i < size * size // 2) for i in range(size * size)]
        return tf.constant(taps, dtype, (size, size, 1, 1))


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class SubPixelConv2D(Conv2D):
    """Convolution to 4 `filters` channels, activation, then depth to space.

        y[2 r + i, 2 c + j, o] = conv(x)[r, c, (2 i + j) filters + o],   i, j = 0, 1

    Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network", 2016, arXiv 1609.05158.

    Input: float [B, H, W, C]. Output: float [B, 2 H, 2 W, filters].
    """

    def __init__(self, filters: int, kernel_size: int = 3, **kwargs):
        super().__init__(4 * filters, kernel_size, **kwargs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(super().call(x), 2)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters // 4}


@tf.keras.utils.register_keras_serializable(package="gllmm_tf")
class TransposedConv2D(Conv2D):
    """Stride-2 upsampling: zeros between the samples, then a 3x3 correlation with the kernel.

    Output (2 i + 1 - t) collects input `i` through tap `t` of the kernel, t in 0..2 along each axis.
    Input: float [B, H, W, C]. Output: float [B, 2 H, 2 W, filters].
    """

    def __init__(self, filters: int, kernel_size: int = 3, strides: int = 2, **kwargs):
        super().__init__(filters, kernel_size, strides, **kwargs)
        if (kernel_size, strides) != (3, 2):
            raise ValueError(
                f"kernel_size and strides must be 3 and 2, not {kernel_size} and {strides}"
            )

    def _convolve(self, x, kernel):
        shape = tf.shape(x)
        output_shape = tf.stack([shape[0], 2 * shape[1], 2 * shape[2], self.filters])
        # conv2d_transpose is the gradient of a correlation: it wants the reversed kernel, (out, in).
        kernel = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        padding = [[0, 0], [1, 0], [1, 0], [0, 0]]
        return tf.nn.conv2d_transpose(x, kernel, output_shape, 2, padding)
