"""Both backends read each other's files, to the same symbols and nearly the same pixels."""

import os

import numpy as np
import pytest
from conftest import ROOT

pytest.importorskip("onnxruntime")
pytest.importorskip("tensorflow")

from PIL import Image  # noqa: E402
from portable import random_models  # noqa: E402
from portable.test_codec import picture  # noqa: E402

from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec  # noqa: E402
from gllmm_tf.portable.codec import PortableCodec  # noqa: E402
from gllmm_tf.zoo.registry import read_model  # noqa: E402


def check(theirs, ours, image, quality):
    """Files of either through both."""
    files = [codec.encode(image, quality) for codec in (theirs, ours)]
    y = [encoded.latents.y_hat for encoded in files]
    assert np.mean(y[0] != y[1]) < 1e-4  # ties that fall otherwise
    for encoded in files:
        a, b = theirs.decode(encoded.data), ours.decode(encoded.data)
        for decoded in (a, b):
            for symbols, wanted in zip(decoded.latents, encoded.latents):
                np.testing.assert_array_equal(symbols, wanted)
        difference = np.abs(a.image.astype(int) - b.image)
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 1e-3


@pytest.mark.parametrize("name", list(random_models.CONFIGS))
def test_random_models(name):
    model = random_models.model_file(name, empty_rows=name == "variable")
    both = TensorFlowCodec(model), PortableCodec(model)
    for i, shape in enumerate([(1, 1), (70, 100)]):
        first = model.config.first_quality
        check(*both, picture(*shape), first + i * 1.5 if model.config.lambdas else None)


def test_a_shipped_model():
    model = read_model("gllmm-n48")
    both = TensorFlowCodec(model), PortableCodec(model)
    for quality in (1, 4.5, 8):
        check(*both, picture(150, 260), quality)


def test_a_photograph_with_the_default_model():
    model = read_model()
    with Image.open(os.path.join(ROOT, "assets", "picos_de_europa.png")) as image:
        photograph = np.asarray(image.convert("RGB"))[:256, :320]
    check(TensorFlowCodec(model), PortableCodec(model), photograph, 4)
