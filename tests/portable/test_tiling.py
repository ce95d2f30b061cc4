"""Tiles: the overlap is exact, and what they join is what the untiled transform gives."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from portable import layer_reference, random_models  # noqa: E402
from portable.test_transforms import PARTS  # noqa: E402

from gllmm_tf.codec.tiling import Span, inputs_per_output, needed, spans_of_path  # noqa: E402
from gllmm_tf.portable.tiling import PortableTransform  # noqa: E402

STRIDES = {"g_a": 16, "g_s": 1, "h_a": 4}
N = random_models.CONFIGS["variable"].num_filters
CHANNELS = {"g_a": 3, "g_s": N, "h_a": N}


def path_of(part, name="variable"):
    model = random_models.model_file(name)
    return PARTS[part][0](model.config, model.weights[part])


def averaging(layer):
    """The layer with every kernel positive and every bias 0: what an input reaches is positive."""
    changes = {}
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        if field.name == "kernel":
            changes["kernel"] = np.full(value.shape, 1 / np.prod(value.shape[:3]), np.float32)
        elif field.name == "bias":
            changes["bias"] = None
        elif isinstance(value, tuple):
            changes[field.name] = tuple(averaging(part) for part in value)
        elif dataclasses.is_dataclass(value):
            changes[field.name] = averaging(value)
    return dataclasses.replace(layer, **changes)


@pytest.mark.parametrize("name", list(random_models.CONFIGS))
@pytest.mark.parametrize("part", PARTS)
def test_needed_is_exact(part, name):
    path = [averaging(layer) for layer in path_of(part, name)]
    stride, rows = STRIDES[part], {"g_a": 768, "g_s": 64, "h_a": 48}[part]
    channels = 3 if part == "g_a" else random_models.CONFIGS[name].num_filters
    for position in (rows // 2, rows // 2 + 1):
        x = np.zeros([rows, stride, channels])
        x[position] = 1.0
        reached = np.any(layer_reference.run(path, x) != 0, (1, 2))
        spans = [needed(path, Span(i, i + 1)) for i in range(len(reached))]
        expected = [span.start <= position < span.stop for span in spans]
        np.testing.assert_array_equal(reached, expected)
        assert 0 < sum(expected) < len(expected)


def test_overlaps_that_the_documentation_states():
    paths = {part: path_of(part) for part in PARTS}
    assert needed(paths["g_a"], Span(1000, 1001)) == (16000 - 145, 16000 + 146)
    assert needed(paths["h_a"], Span(1000, 1001)) == (4000 - 7, 4000 + 8)
    assert needed(paths["g_s"], Span(16000, 16016)) == (1000 - 14, 1000 + 15)
    assert [inputs_per_output(path) for path in paths.values()] == [16, 1 / 16, 4]


def test_spans_stop_at_the_border():
    spans = spans_of_path(path_of("g_s"), 100, Span(0, 1))
    assert spans[0] == (0, 15) and spans[-1] == (0, 1)


def test_unknown_layers_are_refused():
    with pytest.raises(TypeError, match="dict"):
        needed({}, Span(0, 1))


@pytest.fixture(scope="module", params=list(PARTS))
def tiled(request):
    """(stride, channels, `PortableTransform`)."""
    part = request.param
    return STRIDES[part], CHANNELS[part], PortableTransform(path_of(part), CHANNELS[part])


def join(transform, x, length, region=None):
    """The tiles' outputs put together, and how many there were."""

    def read(rows, columns):
        return x[:, :, rows.start : rows.stop, columns.start : columns.stop]

    parts = list(transform.tiles(read, x.shape[2:], length, region))
    assert len(parts) <= transform.num_tiles(x.shape[2:], length, region)
    top, left = parts[0][0].start, parts[0][1].start
    bottom, right = parts[-1][0].stop, parts[-1][1].stop
    out = np.full([parts[0][2].shape[1], bottom - top, right - left], np.nan, np.float32)
    for rows, columns, part in parts:
        out[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = (
            part[0]
        )
    return out, len(parts)


@pytest.mark.parametrize("shape", [(2, 24), (22, 3)])
def test_tiles_equal_the_whole(tiled, shape):
    stride, channels, transform = tiled
    rng = np.random.default_rng(7)
    x = rng.normal(size=(1, channels, *(stride * n for n in shape))).astype(np.float32)
    expected = transform.whole()(x)[0]
    for length in (2 * stride, 7 * stride + 1):
        out, count = join(transform, x, length)
        assert count > 1 and out.shape == expected.shape
        np.testing.assert_allclose(out, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_regions_equal_the_whole(tiled):
    stride, channels, transform = tiled
    x = np.random.default_rng(8).normal(size=(1, channels, 20 * stride, 30 * stride))
    x = x.astype(np.float32)
    expected = transform.whole()(x)[0]
    height, width = expected.shape[1:]
    for rows, columns in (
        (Span(0, 1), Span(0, width)),
        (Span(height - 1, height), Span(width - 1, width)),
        (Span(height // 3, height // 2), Span(width // 5, width // 5 + 3)),
    ):
        out, _ = join(transform, x, 5 * stride, (rows, columns))
        wanted = expected[:, rows.start : rows.stop, columns.start : columns.stop]
        assert out.shape == wanted.shape
        np.testing.assert_allclose(out, wanted, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_a_region_reads_only_what_it_needs(tiled):
    stride, channels, transform = tiled
    read = []

    def spy(rows, columns):
        read.append((rows, columns))
        return np.zeros(
            [1, channels, rows.stop - rows.start, columns.stop - columns.start], np.float32
        )

    size = (200 * stride, 200 * stride)
    middle = 100 * stride if stride == 1 else 100
    list(transform.tiles(spy, size, 10**6, (Span(middle, middle + 1),) * 2))
    (rows, columns), *others = read
    assert not others and rows == columns
    assert rows.stop - rows.start < 40 * stride


def test_tile_length_follows_the_memory(tiled):
    stride, _, transform = tiled
    size = 100 * stride, 400 * stride
    lengths = [transform.tile_length(size, memory << 20, stride) for memory in (0, 1, 8, 64)]
    assert lengths[0] == stride and all(length % stride == 0 for length in lengths)
    assert lengths == sorted(lengths) and lengths[-1] > lengths[1]
