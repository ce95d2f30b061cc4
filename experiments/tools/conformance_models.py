"""Small models with drawn weights, for the conformance files: `make_conformance` uses them.

They hold what a decoder needs, and not the encoder's networks. Between them they have every kind of
configuration and of table that decoding branches on.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from gllmm_tf.config import QUALITY_STEPS, ModelConfig, cheng2020
from gllmm_tf.portable import constants, transforms
from gllmm_tf.portable.tiling import PortableTransform
from gllmm_tf.zoo.model_file import ModelFile

CONTRAST = 0.12  # standard deviation of x_hat where y has one of 1


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is drawn.

    Attributes:
        config: `ModelConfig`.
        precisions: Of the rows of `z/cdf`, taken in turn; a precision of 1 makes rows of one symbol
            and the escape, both with probability 1/2.
        has_empty: Whether there is a table `y/empty`.
        exponents: {layer: B}; others have 14.
        far_mean: Factor on the first mean of channel 0, so that it reaches its limit.
        base: Of an enhancement layer: the recipe of the model below.
        seed: Of the draw.
    """

    config: ModelConfig
    precisions: tuple[int, ...]
    has_empty: bool
    exponents: dict[str, int] = dataclasses.field(default_factory=dict)
    far_mean: int = 1
    base: str = ""
    seed: int = 0


RECIPES = {
    "three": Recipe(
        ModelConfig(num_filters=4, entropy_widths=(12, 16), lambdas=(0.001, 0.004, 0.02)),
        precisions=(16,),
        has_empty=True,
    ),
    "one": Recipe(
        ModelConfig(
            num_filters=6,
            trunk_widths=(2, 4, 6),
            families=("laplacian",),
            components=2,
            stages=3,
            entropy_widths=(10, 14),
        ),
        precisions=(12, 7, 9),
        has_empty=False,
        exponents={"h_s/0": 6, "h_s/2": 0, "context": 5, "hidden/0": 8, "last": 1},
        far_mean=400,
        seed=1,
    ),
    "apart": Recipe(
        ModelConfig(
            num_filters=8,
            trunk_widths=(2, 4, 4),
            hyper_filters=4,
            deep_filters=6,
            components=1,
            entropy_widths=(10, 8),
            lambdas=(0.01, 0.1),
            first_quality=6,
        ),
        precisions=(16, 11),
        has_empty=True,
        seed=4,
    ),
    "cheng": Recipe(
        cheng2020(4, entropy_widths=(8, 12)), precisions=(16, 10), has_empty=True, seed=2
    ),
    "two": Recipe(
        ModelConfig(
            num_filters=2,
            families=("gaussian", "logistic"),
            components=1,
            entropy_widths=(6, 8),
            lambdas=(0.002, 0.03),
        ),
        precisions=(1,),
        has_empty=False,
        exponents={"h_s/1": -1, "context": 17, "last": 13},
        seed=3,
    ),
    "layer": Recipe(
        ModelConfig(
            num_filters=4,
            hyper_filters=4,
            families=("logistic",),
            components=2,
            entropy_widths=(6, 8),
            lambdas=(0.05, 0.4),
            first_quality=3,
            base_index=20,
        ),
        precisions=(),
        has_empty=False,
        base="three",
        seed=5,
    ),
}
LAYER_WIDTH = 6  # channels inside an enhancement layer's h_s


def draw(name: str) -> ModelFile:
    """The model of a recipe; always the same."""
    recipe = RECIPES[name]
    config, rng = recipe.config, np.random.default_rng(recipe.seed)
    if recipe.base:
        config = dataclasses.replace(config, base=draw(recipe.base).identity.hex())
    n, z, qualities = config.num_filters, config.z_filters, len(config.lambdas)
    exact = _networks(recipe, rng)
    if not recipe.base:
        exact.update(_z_tables(recipe, rng))
    gains = []
    if qualities:
        steps = QUALITY_STEPS * (qualities - 1) + 1
        exact["z/inverse_gain"] = rng.integers(1000, 9000, (steps, z)).astype(np.int32)
        exact["phi/offset"] = rng.integers(-900, 900, (steps, 2 * n)).astype(np.int32)
        sizes = (n, n, z, z)
        gains = [np.float32(rng.normal(size=(qualities, size)) * 0.3) for size in sizes]
        gains.append(np.float32(rng.normal(size=(qualities, 2 * n))))
        if recipe.base:  # one step for all channels, of a few in 255
            gains[1] = np.float32(np.repeat(rng.normal(size=(qualities, 1)) * 0.2 - 4, n, 1))
    if recipe.has_empty:
        rows = rng.integers(8, 2546, (max(qualities, 1), constants.EMPTY_SIZES, n))
        exact[constants.EMPTY] = rows.astype(np.uint16)
    g_s = _layer_synthesis(config, rng) if recipe.base else _synthesis(config, rng)
    weights = {"g_a": [], "g_s": g_s, "h_a": [], "gains": gains, "prior": []}
    return ModelFile(config, {"name": f"conformance {name}"}, exact, weights)


def _networks(recipe, rng):
    """Integer layers whose outputs are about as large as their inputs."""
    config = recipe.config
    n, (first, second) = config.num_filters, config.entropy_widths
    z = config.z_filters
    inner = LAYER_WIDTH if recipe.base else z
    widths = [z, inner, inner, inner * 3 // 2, inner * 3 // 2, 2 * n]
    shapes = {f"h_s/{i}": (3, 3, widths[i], widths[i + 1]) for i in range(5)}
    shapes["context"] = 12, n, 2 * n
    shapes["hidden/0"], shapes["hidden/1"] = (4 * n, first), (first, second)
    shapes["last"] = second, config.num_groups * n
    arrays = {}
    for name, shape in shapes.items():
        exponent = recipe.exponents.get(name, 14)
        inputs = np.prod(shape[:-1]) / (4 if name in ("h_s/1", "h_s/3") else 1)
        spread = max(2.0**exponent / np.sqrt(inputs), 0.6)
        kernel = np.clip(np.round(rng.normal(size=shape) * spread), -32767, 32767)
        bias = np.zeros(shape[-1])
        if name == "last":
            kernel[:, n] *= recipe.far_mean
        else:
            input_bits = 0 if name == "context" else constants.ACTIVATION_BITS
            bias = np.round(rng.normal(size=shape[-1]) * 2.0 ** (exponent + input_bits) / 4)
        arrays[f"{name}/kernel"] = np.clip(kernel, -32767, 32767).astype(np.int16)
        arrays[f"{name}/bias"] = bias.astype(np.int64)
        arrays[f"{name}/exponent"] = np.int32(exponent)
    return arrays


def _z_tables(recipe, rng):
    rows = []
    for channel in range(recipe.config.z_filters):
        precision = recipe.precisions[channel % len(recipe.precisions)]
        unit, count = 1 << precision, min(int(rng.integers(4, 9)), (1 << precision) - 1)
        inner = np.sort(rng.choice(np.arange(1, unit), count, replace=False)).tolist()
        if channel == 1 and count > 2:
            inner[1] = inner[2]  # a symbol without probability
        rows += [-precision, 0, *inner, unit]
    offset = rng.integers(-5, 2, recipe.config.z_filters)
    return {"z/cdf": np.array(rows, np.int32), "z/offset": offset.astype(np.int32)}


def _synthesis(config, rng):
    """The arrays of g_s, float16, scaled so that pictures have some contrast and little beyond 0 and 1."""
    arrays = []
    shapes = synthesis_shapes(config)
    for i, shape in enumerate(shapes):
        is_beta = len(shape) == 1 and i + 1 < len(shapes) and len(shapes[i + 1]) == 2
        if len(shape) == 4:
            array = rng.normal(size=shape) * 0.6 / np.sqrt(np.prod(shape[:3]))
        elif len(shape) == 2:  # some below 0, where the stored form has its bound
            array = np.abs(rng.normal(size=shape)) * 0.1 - 0.02
        else:
            array = rng.normal(size=shape) * 0.1 + (1.0 if is_beta else 0.0)
        arrays.append(array.astype(np.float16))
    arrays[-1] = np.float16(0.5 + 0.1 * rng.normal(size=arrays[-1].shape))
    y = rng.normal(size=(1, config.num_filters, 8, 8)).astype(np.float32)
    path = PortableTransform(transforms.synthesis(config, arrays), config.num_filters).whole()
    spread = np.std(path(y) - np.float32(0.5))
    arrays[-2] = np.float16(arrays[-2] * (CONTRAST / spread))
    return arrays


def _layer_synthesis(config, rng):
    """The arrays of an enhancement layer's g_s, float16."""
    shapes = synthesis_shapes(config)
    arrays = [rng.normal(size=shape) * (0.3 if len(shape) == 4 else 0.02) for shape in shapes]
    return [array.astype(np.float16) for array in arrays]


def synthesis_shapes(config: ModelConfig) -> list[tuple[int, ...]]:
    """Shapes of g_s in the order of model files: docs/format_pixels.md."""
    n = config.num_filters
    if config.base:
        return 4 * [(3, 3, n, n), (n,)] + [(3, 3, n, 48), (48,), (3, 3, 12, 12), (12,)]
    deep = config.deep_filters or n
    t1, t2, t3 = config.trunk_widths or 3 * (n,)

    def conv(before, width, size=3):
        return [(size, size, before, width), (width,)]

    def attention(width):
        half = width // 2
        unit = conv(width, half, 1) + conv(half, half) + conv(half, width, 1)
        return 6 * unit + conv(width, width, 1)

    def up(before, width):
        gdn = [(width,), (width, width)]
        inner = conv(before, 4 * width) + conv(width, width) + gdn
        return inner + conv(before, 4 * width, 1)

    modules = [2 * config.stages * conv(width, width) for width in (deep, t3, t2, t1)]
    ups = [up(*pair) for pair in ((n, t3), (t3, t2), (t2, t1))]
    return attention(deep) + attention(t2) + sum(modules + ups, []) + conv(t1, 12)
