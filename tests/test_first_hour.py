"""A first hour in a notebook, cell by cell: what someone tries who has read the front page."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import gllmm_tf

ASSETS = pathlib.Path(__file__).resolve().parents[1] / "assets"
SMALL = "gllmm-n48"


@pytest.fixture(scope="module")
def photo():
    """uint8 [128, 192, 3], a detail of a photograph that comes with the repository."""
    return np.array(Image.open(ASSETS / "friends.png").convert("RGB"))[160:288, 320:512]


@pytest.fixture(scope="module")
def codec():
    return gllmm_tf.Codec.load(SMALL)


@pytest.fixture(scope="module")
def model():
    return gllmm_tf.CompressionModel.load(SMALL)


@pytest.fixture(scope="module")
def crops(photo):
    """A tf.data set of batches [2, 64, 64, 3] of bytes, as an input pipeline of one's own gives."""
    random = np.random.default_rng(0)
    places = zip(random.integers(0, 65, 6), random.integers(0, 129, 6))
    pieces = np.stack([photo[top : top + 64, left : left + 64] for top, left in places])
    return tf.data.Dataset.from_tensor_slices(pieces).batch(2)


def test_what_there_is():
    """import gllmm_tf; gllmm_tf.<TAB>; gllmm_tf.models()."""
    names = dir(gllmm_tf)
    for name in ("Codec", "CompressionModel", "ModelConfig", "models", "layers", "metrics"):
        assert name in names
    assert gllmm_tf.__doc__.count("gllmm_tf.") >= 3
    assert {"gllmm-n144", SMALL} <= set(gllmm_tf.models())
    assert "pixels_seen" in gllmm_tf.models()[SMALL]


def test_compress_and_look(codec, photo):
    data = codec.compress(photo, quality=3)
    again = codec.decompress(data)
    assert isinstance(data, bytes) and again.shape == photo.shape and again.dtype == np.uint8
    bpp = 8 * len(data) / photo[..., 0].size
    assert 0.05 < bpp < 2
    assert gllmm_tf.metrics.psnr(photo, again) > 25
    assert len(codec.compress(photo)) > len(data)  # the default is quality 4


def test_several_pictures_at_once(codec, photo):
    pictures = [photo, photo[:96, :100], photo[::-1]]
    files = codec.compress(pictures, 2)
    assert [p.shape for p in codec.decompress(files)] == [p.shape for p in pictures]
    batch = np.stack([photo[:64, :64], photo[64:, :64]])
    assert codec.compress(batch, 2) == [codec.compress(one, 2) for one in batch]


def test_a_typing_error_is_explained(codec, photo):
    for call, message in (
        (lambda: codec.compress(photo, quality=9), "quality is 9, it must be from 1 to 8"),
        (lambda: codec.compress(photo / 255.0), "uint8"),
        (lambda: gllmm_tf.Codec.load("gllmm-n49"), "no model has this name"),
        (lambda: codec.decompress(b"no file"), "not a"),
    ):
        with pytest.raises(gllmm_tf.errors.GllmmError, match=message):
            call()


def test_the_model_behind_the_codec(model, codec, photo):
    """The float networks give the latents that the codec writes, and about its size and pixels."""
    x = tf.constant(photo[None] / np.float32(255))
    out = model(x, quality=3)
    encoded = codec.encode(photo, 3)
    assert np.mean(out.y_hat[0] != encoded.latents.y_hat) < 1e-3
    assert 8 * len(encoded.data) / photo[..., 0].size == pytest.approx(float(out.bpp[0]), rel=0.1)
    pixels = np.uint8(np.round(255 * np.clip(out.x_hat[0], 0, 1)))
    assert gllmm_tf.metrics.psnr(pixels, codec.decompress(encoded.data)) > 40


def test_rate_and_distortion_with_gradients(model, photo):
    x = tf.constant(photo[None, :64, :64] / np.float32(255))
    with tf.GradientTape() as tape:
        out = model(x, quality=3, training=True)
        terms = gllmm_tf.losses.rate_distortion_loss(x, out, lambdas=0.01)
        loss = tf.reduce_mean(terms.loss)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(np.all(np.isfinite(tf.convert_to_tensor(g))) for g in gradients)
    np.testing.assert_allclose(terms.loss, 0.01 * terms.mse + terms.bpp, rtol=1e-6)
    np.testing.assert_allclose(terms.bpp, out.bpp, rtol=1e-6)


@pytest.mark.slow
def test_an_ablation_is_built_trained_and_used(crops, photo, tmp_path):
    """Another mixture, another depth: configuration, compile, fit, then files of the new model."""
    from gllmm_tf.zoo.model_file import export_model

    ablation = gllmm_tf.ModelConfig(
        num_filters=8,
        families=("gaussian", "logistic"),
        components=2,
        stages=1,
        entropy_widths=(16, 16),
        lambdas=(0.003, 0.01, 0.03),
    )
    model = gllmm_tf.CompressionModel(ablation)
    model.compile(tf.keras.optimizers.Adam(1e-3, global_clipnorm=1.0))
    history = model.fit(crops, verbose=0).history  # three steps
    assert set(history) == {"loss", "bpp", "psnr"} and np.all(np.isfinite(history["loss"]))
    assert model.optimizer.iterations == 3
    assert np.isfinite(model.evaluate(crops, verbose=0)[0])

    export_model(model, tmp_path / "mine.npz", {"name": "mine"})
    mine = gllmm_tf.Codec.load(tmp_path / "mine.npz")
    again = mine.decompress(mine.compress(photo, 2))
    assert again.shape == photo.shape
    assert gllmm_tf.CompressionModel.load(tmp_path / "mine.npz").config == ablation


def test_a_shipped_model_trains_on(crops):
    model = gllmm_tf.CompressionModel.load(SMALL)
    model.compile("adam", run_eagerly=True)
    before = model.evaluate(crops.take(1), verbose=0, return_dict=True)
    model.fit(crops, steps_per_epoch=2, verbose=0)
    assert model.optimizer.iterations == 2
    assert before["psnr"] > 25 and before["bpp"] > 0.05


def test_layers_in_a_network_of_ones_own():
    layers = gllmm_tf.layers
    network = tf.keras.Sequential(
        [
            tf.keras.Input([64, 64, 3]),
            layers.Conv2D(16, 5, strides=2),
            layers.GDN(),
            layers.ConcatenatedResidualModule(16),
            layers.AttentionBlock(16),
            layers.ResidualUpsampling(16),
            layers.SubPixelConv2D(3),
        ]
    )
    assert network(tf.zeros([1, 64, 64, 3])).shape == [1, 128, 128, 3]


def test_metrics(photo):
    darker = (photo // 8 * 8).astype(np.uint8)
    assert 30 < gllmm_tf.metrics.psnr(photo, darker) < 45
    assert gllmm_tf.metrics.ms_ssim(photo, darker) is None  # under 176 pixels
    wide = np.tile(photo, (2, 1, 1))
    assert 0.9 < gllmm_tf.metrics.ms_ssim(wide, np.tile(darker, (2, 1, 1))) < 1
