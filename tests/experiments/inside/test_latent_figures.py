"""Where bits go and how the mixture fits: the numbers behind the figures, with a tiny model."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from experiments.common.figures import save_png
from experiments.common.program import ExperimentError
from experiments.inside import latents as inside
from experiments.inside import mixture_fit, where_bits_go


@pytest.fixture(scope="module")
def latents(tiny_model_path, sample_pixels):
    return inside.look_inside(tiny_model_path, sample_pixels, 8.0)


def test_bits_add_up_to_the_file(latents, tiny_codec):
    assert latents.y_hat.shape == latents.y_bits.shape == (8, 12, 8)
    assert latents.z_bits.shape == (2, 3, 8)
    content = (latents.y_bits.sum() + latents.z_bits.sum()) / 8
    assert 0 <= latents.size - content < 64
    np.testing.assert_allclose(
        inside.per_position(latents.y_bits).sum() * 256,
        inside.per_channel(latents.y_bits).sum(),
        rtol=1e-5,
    )
    assert f"{latents.size} bytes" in where_bits_go.summary(latents)


def test_probabilities_are_those_of_the_mixture(latents):
    integers = np.arange(-3, 4)
    for channel in (0, 5):
        p = mixture_fit.probabilities(latents.mixture, channel, integers).sum(2)  # [h, w, V]
        for i, k in enumerate(integers):
            wanted = latents.mixture.likelihood(tf.fill((1, 8, 12, 8), float(k)))
            np.testing.assert_allclose(p[..., i], wanted[0, ..., channel], atol=1e-5)


def test_fit_compares_counts_with_predictions(latents):
    fit = mixture_fit.fit_of(latents, 2)
    values = latents.y_hat[..., 2]
    assert fit.counts.sum() == values.size
    assert fit.counts[list(fit.integers).index(int(values[0, 0]))] == np.sum(values == values[0, 0])
    assert fit.predicted.shape == (3, len(fit.integers))
    assert 0.5 < fit.predicted.sum() <= 1.0001
    row, column = fit.position
    assert fit.value == values[row, column]
    assert 0 <= mixture_fit.distance(fit) <= 1


def test_channels_are_chosen_by_cost(latents):
    cost = inside.per_channel(latents.y_bits)
    first, last = mixture_fit.choose_channels(latents, [1, 8])
    assert cost[first] == cost.max() and cost[last] == cost.min()
    with pytest.raises(ExperimentError, match="9 is not from 1 to 8"):
        mixture_fit.choose_channels(latents, [9])


def test_figures_are_drawn_and_rows_counted(latents, sample_pixels, tmp_path):
    fits = [mixture_fit.fit_of(latents, c) for c in (0, 1)]
    for name, module, figure, content in (
        ("bits", where_bits_go, where_bits_go.draw(sample_pixels, latents, "t"), latents),
        ("fit", mixture_fit, mixture_fit.draw(fits, [1, 2], "t"), fits),
    ):
        assert pathlib.Path(save_png(figure, str(tmp_path / name))).stat().st_size > 5000
        assert len(module.rows_of(content)) >= 8
