"""What --metric picks is better by that metric, in real files of a photograph.

The training of gllmm-n144-ms-ssim met it; pictures that no model has seen, Kodak's, are in docs/results.md.
"""

import os

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import gllmm_tf
from gllmm_tf import metrics
from gllmm_tf.zoo import registry


@pytest.fixture(scope="module")
def photo():
    """uint8 [256, 384, 3]."""
    with Image.open(os.path.join(ROOT, "assets", "picos_de_europa.png")) as picture:
        return np.asarray(picture.convert("RGB"))[100:356, 100:484]


def test_every_metric_has_a_released_model_of_its_own():
    assert set(registry.METRIC_MODELS) == set(metrics.DISTORTIONS)
    for metric, name in registry.METRIC_MODELS.items():
        assert name in {*registry.RELEASED, registry.DEFAULT_ALIAS}
        assert registry.read_model(name).config.metric == metric
    assert registry.METRIC_MODELS["mse"] == registry.DEFAULT_ALIAS


@pytest.mark.parametrize("quality", [2, 5, 7])
def test_each_is_the_better_one_by_its_metric(photo, quality):
    codecs = {m: gllmm_tf.Codec.load(name) for m, name in registry.METRIC_MODELS.items()}
    data = codecs["mse"].compress(photo, quality)
    other = codecs["ms-ssim"].compress(photo, target_size=len(data))
    assert len(other) <= len(data)
    pixels = {"mse": codecs["mse"].decompress(data), "ms-ssim": codecs["ms-ssim"].decompress(other)}
    lost = {metric: 1 - metrics.ms_ssim(photo, x_hat) for metric, x_hat in pixels.items()}
    assert lost["ms-ssim"] < 0.9 * lost["mse"]
    assert metrics.psnr(photo, pixels["ms-ssim"]) < metrics.psnr(photo, pixels["mse"])
