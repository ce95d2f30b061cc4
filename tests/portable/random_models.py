"""Model files with random weights, made without TensorFlow, for tests."""

import numpy as np

from gllmm_tf.config import QUALITY_STEPS, ModelConfig, cheng2020
from gllmm_tf.model import block_transform
from gllmm_tf.portable import constants
from gllmm_tf.zoo.model_file import ModelFile

LAMBDAS = (0.001, 0.004, 0.02)
CONFIGS = {
    "variable": ModelConfig(num_filters=8, entropy_widths=(24, 32), lambdas=LAMBDAS),
    "widths": ModelConfig(
        num_filters=12, trunk_widths=(4, 6, 10), entropy_widths=(20, 16), components=2, stages=3
    ),
    "apart": ModelConfig(
        num_filters=12,
        trunk_widths=(4, 6, 10),
        hyper_filters=6,
        deep_filters=8,
        entropy_widths=(20, 16),
        components=1,
        lambdas=LAMBDAS,
        first_quality=3,
    ),
    "cheng2020": cheng2020(6, entropy_widths=(16, 24)),
}


def model_file(name, seed=0, empty_rows=False):
    """`ModelFile` of a configuration in `CONFIGS`; empty_rows: with a table of empty channels."""
    rng = np.random.default_rng(seed)
    config = CONFIGS[name]
    weights = {part: _draw(rng, shapes) for part, shapes in transform_shapes(config).items()}
    weights["prior"] = []
    n, q = config.num_filters, len(config.lambdas)
    weights["gains"] = []
    if q:
        sizes = [n, n, config.z_filters, config.z_filters, 2 * n]
        weights["gains"] = [np.float32(rng.normal(size=(q, size)) * 0.3) for size in sizes]
    exact = exact_arrays(config, rng)
    if empty_rows:
        rows = rng.integers(512, 2042, (max(q, 1), constants.EMPTY_SIZES, n))
        exact[constants.EMPTY] = rows.astype(np.uint16)
    return ModelFile(config, {"name": f"random {name}", "lambdas": list(LAMBDAS)}, exact, weights)


def layer_file(base, base_index=16, seed=0):
    """`ModelFile` of an enhancement layer upon another model; its transform is orthonormal."""
    rng = np.random.default_rng(seed)
    config = ModelConfig(
        num_filters=48,
        hyper_filters=base.config.num_filters,
        families=("logistic",),
        components=1,
        entropy_widths=(12, 10),
        lambdas=(0.05, 0.4),
        first_quality=3,
        base=base.identity.hex(),
        base_index=base_index,
    )
    components, _ = np.linalg.qr(rng.normal(size=(48, 48)))
    analysis = block_transform.analysis_kernels(components)
    blocks = [np.zeros(shape) for shape in 4 * conv(48, 48)]
    synthesis = block_transform.synthesis_kernels(components)
    g_s = [*blocks, synthesis[0], np.zeros(48), synthesis[1], np.zeros(12)]
    steps = np.log(np.repeat([[24 / 255], [4 / 255]], 48, 1)).astype(np.float32)
    sizes = config.hyper_filters, config.hyper_filters, 96
    weights = {
        "g_a": [np.float16(kernel) for kernel in analysis],
        "g_s": [np.float16(array) for array in g_s],
        "h_a": [],
        "gains": [-steps, steps, *(np.zeros([2, size], np.float32) for size in sizes)],
        "prior": [],
    }
    exact = exact_arrays(config, rng, inner=6)
    del exact["z/cdf"], exact["z/offset"]
    info = {"name": "random layer", "lambdas": list(config.lambdas), "first_quality": 3}
    return ModelFile(config, info, exact, weights)


def exact_arrays(config, rng, inner=0):
    """The integer arrays; exponents leave kernels near 1 as after training. inner: channels inside h_s."""
    n, (first, second) = config.num_filters, config.entropy_widths
    z = config.z_filters
    inner = inner or z
    widths = [z, inner, inner, inner * 3 // 2, inner * 3 // 2, 2 * n]
    kernels = {f"h_s/{i}": (3, 3, widths[i], widths[i + 1]) for i in range(5)}
    kernels["context"] = 12, n, 2 * n
    kernels["hidden/0"], kernels["hidden/1"] = (4 * n, first), (first, second)
    kernels["last"] = second, config.num_groups * n
    arrays = {}
    for name, shape in kernels.items():
        exponent = int(rng.integers(13, 16))
        inputs = int(np.prod(shape[:-1]))
        spread = 2.0**exponent / np.sqrt(inputs)
        kernel = np.clip(np.round(rng.normal(size=shape) * spread), -32767, 32767)
        arrays[f"{name}/kernel"] = kernel.astype(np.int16)
        bias = np.round(rng.normal(size=shape[-1]) * 2.0 ** (exponent + 6))
        arrays[f"{name}/bias"] = bias.astype(np.int64)
        arrays[f"{name}/exponent"] = np.int32(exponent)
    cdf = []
    for _ in range(z):
        inner = np.sort(rng.choice(np.arange(1, 65535), int(rng.integers(1, 9)), replace=False))
        cdf += [-16, 0, *inner.tolist(), 65536]
    arrays["z/cdf"] = np.array(cdf, np.int32)
    arrays["z/offset"] = rng.integers(-5, 2, z).astype(np.int32)
    if config.lambdas:
        steps = QUALITY_STEPS * (len(config.lambdas) - 1) + 1
        arrays["z/inverse_gain"] = rng.integers(1000, 9000, (steps, z)).astype(np.int32)
        arrays["phi/offset"] = rng.integers(-900, 900, (steps, 2 * n)).astype(np.int32)
    return arrays


def transform_shapes(config):
    """`{part: shapes}` of the stored weights of g_a, g_s and h_a, in the order of model files."""
    n, z = config.num_filters, config.z_filters
    deep, widths = config.deep_filters or n, config.trunk_widths or 3 * (n,)
    a, up = [], []
    for before, width in zip((3, *widths), widths):
        a += conv(before, width) + conv(width, width) + gdn(width) + conv(before, width, 1)
    for width in widths:
        a += module(width, config.stages)
    a += conv(widths[2], n)[:1] + attention(widths[1]) + attention(deep)
    s = attention(deep) + attention(widths[1])
    for width in (deep, *widths[::-1]):
        s += module(width, config.stages)
    for before, width in zip((n, *widths[::-1]), widths[::-1]):
        up += conv(before, 4 * width) + conv(width, width) + gdn(width) + conv(before, 4 * width, 1)
    s += up + conv(widths[0], 12)
    return {"g_a": a, "g_s": s, "h_a": conv(n, z) + 4 * conv(z, z)}


def conv(before, width, size=3):
    return [(size, size, before, width), (width,)]


def gdn(width):
    return [(width,), (width, width)]


def module(width, stages):
    return 2 * stages * conv(width, width)


def attention(width):
    unit = conv(width, width // 2, 1) + conv(width // 2, width // 2) + conv(width // 2, width, 1)
    return 6 * unit + conv(width, width, 1)


def _draw(rng, shapes):
    """float16 weights that keep values near 1; GDN's parameters are those with one or two axes."""
    arrays = []
    for i, shape in enumerate(shapes):
        beta = len(shape) == 1 and i + 1 < len(shapes) and len(shapes[i + 1]) == 2
        if len(shape) == 4:
            array = rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]))
        elif len(shape) == 2:  # below 0 some of them, where the stored form has its bound
            array = np.abs(rng.normal(size=shape)) * 0.1 - 0.02
        else:
            array = rng.normal(size=shape) * 0.1 + (1.0 if beta else 0.0)
        arrays.append(array.astype(np.float16))
    return arrays
