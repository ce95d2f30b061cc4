"""Products of integer matrices in float32 arithmetic that are exact by construction.

Both factors are split into short digits, so that every product and every partial sum of digits is an
integer of at most 2^24, which float32 holds exactly:

    K = K_0 + 2^8 K_1                            |K_j| <= 2^7        int16 kernel
    x = x_0 + B x_1 + B^2 x_2 + ...              |x_i| <= B / 2      activations
    x K = sum over i, j of B^i 2^(8 j) (x_i K_j)                     outer sums in float64

B is the largest power of two with B / 2 * max over j and columns of sum over rows |K_j| <= 2^24: found
once per kernel, and true for any order of summation. As many digits x_i are used as the largest
activation needs; those left out are 0. Digits are at most 2^8 in magnitude, so that nothing is lost
where a library has been told to round float32 operands to bfloat16 or TF32.
"""

import numpy as np
import tensorflow as tf

KERNEL_DIGIT_BITS = 8
SUM_LIMIT = 2**24
MAX_DIGIT_BITS = 9
ACTIVATION_LIMIT_BITS = 19  # |x| <= 2^19

_F32, _F64 = tf.float32, tf.float64


def digit_bits(kernel):
    """log2 B for an int16 `kernel` [rows, columns], or with further axes before the last."""
    kernel = np.asarray(kernel, np.int32).reshape(-1, np.shape(kernel)[-1])
    unit = 1 << KERNEL_DIGIT_BITS
    high = np.round(kernel / unit).astype(np.int32)
    digits = np.abs(np.stack([kernel - unit * high, high]))
    largest = max(1, int(digits.sum(1).max()))
    bits = int(np.floor(np.log2(SUM_LIMIT // largest))) + 1
    if bits < 2:
        raise ValueError(f"A kernel of {len(kernel)} rows is too long for exact sums in float32.")
    return min(bits, MAX_DIGIT_BITS)


def split_kernel(kernel):
    """int16 [rows, columns] to float32 [rows, 2 columns]: K_0 on the left, K_1 on the right."""
    kernel = tf.cast(kernel, _F32)
    unit = 2.0**KERNEL_DIGIT_BITS
    high = tf.round(kernel / unit)
    return tf.concat([kernel - unit * high, high], 1)


def split_activations(x, bits):
    """Digits of float32 integers `x`, |x| <= 2^19, base B = 2^bits.

    Returns:
        float32 [digits, *x.shape], at least one and as many as the largest element needs.
    """
    most = -(-(ACTIVATION_LIMIT_BITS + 1) // bits)  # B^most / 2 >= 2^19
    powers = 2.0 ** (bits * np.arange(most))
    # i digits reach to B^i / 2.
    further = tf.reduce_max(tf.abs(x)) > tf.constant(powers[1:] / 2, _F32)
    count = 1 + tf.reduce_sum(tf.cast(further, tf.int32))
    scale = tf.reshape(tf.constant(1 / powers, _F32)[:count], [-1] + [1] * len(x.shape))
    shifted = tf.round(x[None] * scale)  # powers of two: exact before the rounding
    carried = tf.concat([shifted[1:], tf.zeros_like(shifted[:1])], 0)
    return shifted - 2.0**bits * carried


def join(products, bits):
    """The sum over digits: float32 [digits, M, 2 columns] to float64 [M, columns]."""
    count, rows = tf.shape(products)[0], tf.shape(products)[1]
    scale = tf.pow(tf.constant(2.0**bits, _F64), tf.cast(tf.range(count), _F64))
    total = tf.reduce_sum(tf.cast(products, _F64) * scale[:, None, None], 0)
    low, high = tf.unstack(tf.reshape(total, [rows, 2, -1]), axis=1)
    return low + 2.0**KERNEL_DIGIT_BITS * high


def multiply(x, kernel, bits):
    """float32 integers [M, rows] times `split_kernel(K)`: x K, float64 [M, columns], exactly."""
    digits = split_activations(x, bits)
    count, rows = tf.shape(digits)[0], tf.shape(digits)[1]
    products = tf.matmul(tf.reshape(digits, [count * rows, -1]), kernel)
    return join(tf.reshape(products, [count, rows, -1]), bits)
