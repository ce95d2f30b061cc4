"""Tiles: the overlap is exact, and what they join is what the untiled transform gives."""

import numpy as np
import pytest
import tensorflow as tf

from gllmm_tf.codec.tensorflow_tiling import TensorFlowTransform
from gllmm_tf.codec.tiling import Span, inputs_per_output, needed, spans_of_path
from gllmm_tf.layers import CausalConv2D, TransposedConv2D
from gllmm_tf.model.transforms import AnalysisTransform, HyperAnalysisTransform, SynthesisTransform

N = 8
TRANSFORMS = {
    "g_a": lambda stages=2, n=N: AnalysisTransform(n, stages),
    "g_s": lambda stages=2, n=N: SynthesisTransform(n, stages),
    "h_a": lambda stages=2, n=N: HyperAnalysisTransform(n),
}
STRIDES = {"g_a": 16, "g_s": 1, "h_a": 4}
CHANNELS = {"g_a": 3, "g_s": N, "h_a": N}


def make_averages(transform):
    """Makes every kernel an average and every bias 0: what an input reaches is positive, all else 0."""
    for variable in transform.weights:
        if variable.shape.rank == 4:
            variable.assign(np.full(variable.shape, 1.0 / np.prod(variable.shape[:3]), np.float32))
        elif "bias" in variable.name:
            variable.assign(tf.zeros(variable.shape))


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_needed_is_exact(name, stages):
    transform = TRANSFORMS[name](stages, 2)
    channels = 3 if name == "g_a" else 2
    stride = STRIDES[name]
    rows = {"g_a": 768, "g_s": 64, "h_a": 48}[name]
    transform(tf.zeros([1, stride, stride, channels]))
    make_averages(transform)
    path = list(transform.path)
    for position in (rows // 2, rows // 2 + 1, rows // 2 + stride // 2):
        x = np.zeros([1, rows, stride, channels], np.float32)
        x[:, position] = 1.0
        reached = np.any(transform(x).numpy() != 0, (0, 2, 3))
        spans = [needed(path, Span(i, i + 1)) for i in range(len(reached))]
        expected = [span.start <= position < span.stop for span in spans]
        np.testing.assert_array_equal(reached, expected)
        assert 0 < sum(expected) < len(expected)


def test_overlaps_that_the_documentation_states():
    paths = {name: list(make().path) for name, make in TRANSFORMS.items()}
    assert needed(paths["g_a"], Span(1000, 1001)) == (16000 - 145, 16000 + 146)
    assert needed(paths["h_a"], Span(1000, 1001)) == (4000 - 7, 4000 + 8)
    assert needed(paths["g_s"], Span(16000, 16016)) == (1000 - 14, 1000 + 15)
    assert [inputs_per_output(path) for path in paths.values()] == [16, 1 / 16, 4]


def test_spans_stop_at_the_border():
    path = list(TRANSFORMS["g_s"]().path)
    spans = spans_of_path(path, 100, Span(0, 1))
    assert spans[0].start == 0 and spans[-1] == (0, 1)
    assert spans[0].stop == 15
    assert spans_of_path(path, 9) == [(0, 9)] * 3 + [(0, 18)] * 2 + [(0, 36)] * 3 + [
        (0, 72)
    ] * 2 + [(0, 144)]


def test_unknown_layers_are_refused():
    for layer in (tf.keras.layers.Conv2D(1, 3), TransposedConv2D(2), CausalConv2D(2)):
        with pytest.raises(TypeError, match=type(layer).__name__):
            needed(layer, Span(0, 1))


@pytest.fixture(scope="module", params=TRANSFORMS)
def tiled(request):
    """(stride, untiled function, `TensorFlowTransform`) with random weights and biases."""
    name = request.param
    tf.keras.utils.set_random_seed(5)
    transform = TRANSFORMS[name]()
    stride = STRIDES[name]
    example = tf.zeros([1, stride, stride, CHANNELS[name]])
    result = TensorFlowTransform(transform.path, example)
    for variable in transform.weights:
        if "bias" in variable.name:
            variable.assign(tf.random.normal(variable.shape, stddev=0.3))
    return stride, CHANNELS[name], tf.function(transform, autograph=False), result


def join(transform, x, length, region=None):
    """The tiles' outputs put together, and how many there were."""

    def read(rows, columns):
        return tf.constant(x[:, rows.start : rows.stop, columns.start : columns.stop])

    parts = list(transform.tiles(read, x.shape[1:3], length, region))
    top, left = parts[0][0].start, parts[0][1].start
    bottom, right = parts[-1][0].stop, parts[-1][1].stop
    out = np.full([bottom - top, right - left, parts[0][2].shape[3]], np.nan, np.float32)
    for rows, columns, part in parts:
        place = out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        place[:] = part[0]
    return out, len(parts)


@pytest.mark.parametrize("shape", [(2, 24), (22, 3)])
def test_tiles_equal_the_whole(tiled, shape):
    stride, channels, whole, transform = tiled
    rng = np.random.default_rng(7)
    x = rng.normal(size=(1, *(stride * n for n in shape), channels)).astype(np.float32)
    expected = whole(x).numpy()[0]
    for length in (2 * stride, 7 * stride + 1):
        out, count = join(transform, x, length)
        assert count > 1 and out.shape == expected.shape
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_regions_equal_the_whole(tiled):
    stride, channels, whole, transform = tiled
    x = np.random.default_rng(8).normal(size=(1, 20 * stride, 30 * stride, channels))
    x = x.astype(np.float32)
    expected = whole(x).numpy()[0]
    height, width = expected.shape[:2]
    for rows, columns in (
        (Span(0, 1), Span(0, width)),
        (Span(height - 1, height), Span(width - 1, width)),
        (Span(height // 3, height // 2), Span(width // 5, width // 5 + 3)),
    ):
        out, _ = join(transform, x, 5 * stride, (rows, columns))
        wanted = expected[rows.start : rows.stop, columns.start : columns.stop]
        assert out.shape == wanted.shape
        np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_region_reads_only_what_it_needs(tiled):
    stride, channels, _, transform = tiled
    read = []

    def spy(rows, columns):
        read.append((rows, columns))
        return tf.zeros([1, rows.stop - rows.start, columns.stop - columns.start, channels])

    size = (200 * stride, 200 * stride)
    middle = 100 * stride if stride == 1 else 100
    list(transform.tiles(spy, size, 10**6, (Span(middle, middle + 1),) * 2))
    (rows, columns), *others = read
    assert not others and rows == columns
    assert rows.stop - rows.start < 40 * stride


def test_tile_length_follows_the_memory(tiled):
    stride, _, _, transform = tiled
    cost = transform.bytes_per_sample()
    assert cost > 0
    assert transform.tile_length((500, 900), cost * 500 * 128, 4) == 128
    assert transform.tile_length((900, 500), cost * 500 * 128, 4) == 128
    assert transform.tile_length((500, 900), 1, 4) == 4
    assert transform.num_tiles((500 * stride, 900 * stride), 128 * stride) == 8


def test_one_trace_for_all_sizes(tiled):
    stride, channels, _, transform = tiled
    join(transform, np.zeros([1, 8 * stride, 4 * stride, channels], np.float32), 3 * stride)
    count = transform.tracing_count
    join(transform, np.zeros([1, 4 * stride, 9 * stride, channels], np.float32), 2 * stride)
    assert transform.tracing_count == count
