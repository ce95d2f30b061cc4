"""Integer products in float32 equal those in int64, whatever the operands."""

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf.coding import exact_product

LIMIT = 2**exact_product.ACTIVATION_LIMIT_BITS
WORST = 2**15 - 1

KERNELS = {
    "largest": lambda rng, rows: np.full((rows, 5), WORST),
    "smallest": lambda rng, rows: np.full((rows, 5), -WORST),
    "digits at their limit": lambda rng, rows: rng.choice(
        [-128, 127, 128, -32640, 32639], (rows, 5)
    ),
    "uniform": lambda rng, rows: rng.integers(-WORST, WORST + 1, (rows, 5)),
    "zero": lambda rng, rows: np.zeros((rows, 5)),
}
ACTIVATIONS = {
    "largest": lambda rng, shape: np.full(shape, LIMIT),
    "smallest": lambda rng, shape: np.full(shape, -LIMIT),
    "small": lambda rng, shape: rng.integers(-3, 4, shape),
    "one large": lambda rng, shape: np.pad([[LIMIT]], [(0, shape[0] - 1), (0, shape[1] - 1)]),
    "uniform": lambda rng, shape: rng.integers(-LIMIT, LIMIT + 1, shape),
    "ties": lambda rng, shape: rng.choice([-LIMIT, -384, -128, 128, 384, LIMIT - 128], shape),
}


@pytest.mark.parametrize("rows", [1, 150, 3072])
@pytest.mark.parametrize("kernel", KERNELS)
def test_products_equal_those_in_int64(kernel, rows):
    rng = np.random.default_rng(rows)
    k = KERNELS[kernel](rng, rows).astype(np.int16)
    bits = exact_product.digit_bits(k)
    split = exact_product.split_kernel(tf.constant(k))
    for name, draw in ACTIVATIONS.items():
        x = draw(rng, (7, rows)).astype(np.int64)
        product = exact_product.multiply(tf.constant(x, tf.float32), split, bits)
        np.testing.assert_array_equal(product, x @ k.astype(np.int64), err_msg=name)


@pytest.mark.parametrize("bits", range(2, exact_product.MAX_DIGIT_BITS + 1))
def test_digits_are_short_and_add_up(bits):
    base = 2**bits
    edges = [side * base**i // 2 + d for i in range(1, 20) for side in (-1, 1) for d in (-1, 0, 1)]
    x = np.array([e for e in edges if abs(e) <= LIMIT] + [LIMIT, -LIMIT, 0])
    for count in range(1, len(x) + 1):
        digits = exact_product.split_activations(tf.constant(x[:count], tf.float32), bits).numpy()
        assert np.abs(digits).max() <= base / 2
        total = (digits * float(base) ** np.arange(len(digits))[:, None]).sum(0)
        np.testing.assert_array_equal(total, x[:count])


def test_only_as_many_digits_as_the_largest_activation_needs():
    def count(largest):
        return len(exact_product.split_activations(tf.constant([0.0, -largest]), 8))

    assert [count(v) for v in (0.0, 128.0, 129.0, 2.0**15, 2.0**15 + 1)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_partial_sum_exceeds_what_float32_holds(kernel):
    k = KERNELS[kernel](np.random.default_rng(0), 1536).astype(np.int16)
    largest = np.abs(exact_product.split_kernel(tf.constant(k))).sum(0).max()
    digit = 2 ** (exact_product.digit_bits(k) - 1)
    assert largest * digit <= 2**24
    assert digit == 2 ** (exact_product.MAX_DIGIT_BITS - 1) or largest * 2 * digit > 2**24


def test_a_digit_too_many_bits_would_be_noticed():
    """The worst case is one: with digits of four times the length a float32 sum is off."""
    rng = np.random.default_rng(2)
    k = KERNELS["uniform"](rng, 3072).astype(np.int16)
    x = rng.integers(-LIMIT, LIMIT + 1, (64, 3072))
    split = exact_product.split_kernel(tf.constant(k))
    product = exact_product.multiply(tf.constant(x, tf.float32), split, 13)
    assert not np.array_equal(product, x @ k.astype(np.int64))
