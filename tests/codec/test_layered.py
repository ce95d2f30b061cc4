"""Enhancement layers: a model and what it leaves of a picture, as one codec."""

import dataclasses
import os

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

pytest.importorskip("onnxruntime")

from portable import random_models  # noqa: E402
from portable.test_codec import picture  # noqa: E402

from gllmm_tf import metrics  # noqa: E402
from gllmm_tf.codec import layered, stages  # noqa: E402
from gllmm_tf.codec.base import Codec  # noqa: E402
from gllmm_tf.errors import FormatError, ModelError  # noqa: E402
from gllmm_tf.export import onnx  # noqa: E402
from gllmm_tf.files import container  # noqa: E402
from gllmm_tf.model import block_transform  # noqa: E402
from gllmm_tf.zoo import registry  # noqa: E402
from gllmm_tf.zoo.model_file import ModelFile  # noqa: E402

BACKENDS = ["portable", "tensorflow"]


@pytest.fixture(scope="module")
def models():
    """(a model, an enhancement layer upon it)."""
    base = random_models.model_file("variable")
    return base, random_models.layer_file(base)


@pytest.fixture(scope="module", params=BACKENDS)
def codecs(request, models):
    """(codec of the layer, codec of the model below), of a backend."""
    if request.param == "tensorflow":
        pytest.importorskip("tensorflow")
    base = Codec.of(models[0], backend=request.param)
    return Codec.of(models[1], backend=request.param, base=base), base


def test_a_file_holds_the_symbols_of_both(codecs, models):
    codec, base = codecs
    image = picture(70, 100)
    encoded = codec.encode(image, 3.5)
    parts = container.unpack(encoded.data)
    assert parts.model_id == models[1].identity and parts.quality_index == 8
    assert encoded.quality == 3.5
    decoded = codec.decode(encoded.data)
    for found, wanted in zip(decoded.latents, encoded.latents):
        np.testing.assert_array_equal(found, wanted)
    y_hat, r_hat = layered.apart(encoded.latents.y_hat, 8)
    assert r_hat.shape == (32, 32, 48) and np.any(r_hat)
    below = base.encode(image, 2)  # what the layer stands upon: quality index 16
    np.testing.assert_array_equal(y_hat, below.latents.y_hat)
    inner = container.unpack(below.data)
    assert inner.z_stream + inner.y_stream in parts.z_stream
    shown = codec.reconstruct(encoded.latents, (70, 100), 3.5)
    np.testing.assert_array_equal(shown, decoded.image)


def test_the_layer_adds_what_is_missing(codecs):
    """Steps of 24 and 4 of 255: uniform noise of one step leaves 10 log10(12 255^2 / step^2) dB."""
    codec, base = codecs
    image = picture(64, 128)
    psnr = {q: metrics.psnr(image, codec.decode(codec.compress(image, q)).image) for q in (3, 4)}
    assert metrics.psnr(image, base.decode(base.compress(image, 2)).image) < psnr[3] - 5
    assert psnr[3] > 30 and psnr[4] == pytest.approx(10 * np.log10(12 * 255**2 / 16), abs=1.5)


def test_tiles_and_regions_show_the_same(codecs, models):
    codec, _ = codecs
    image = picture(100, 200)
    encoded = codec.encode(image, 4)
    whole = codec.decompress(encoded.data).astype(int)
    backend = "tensorflow" if "tensorflow" in type(codec).__module__ else "portable"
    tiled = Codec.of(
        models[1], backend=backend, tile=64, base=Codec.of(models[0], backend=backend, tile=64)
    )
    assert np.abs(tiled.decompress(encoded.data) - whole).max() <= 1
    again = tiled.encode(image, 4)
    assert np.mean(again.latents.y_hat != encoded.latents.y_hat) < 0.001
    for x, y, width, height in (
        (0, 0, 200, 100),
        (37, 21, 120, 70),
        (199, 99, 1, 1),
        (3, 66, 70, 2),
    ):
        region = codec.decompress(encoded.data, crop=(x, y, width, height))
        assert region.shape == (height, width, 3)
        assert np.abs(region - whole[y : y + height, x : x + width]).max() <= 1


def test_both_backends_read_each_other(models):
    pytest.importorskip("tensorflow")
    image, codecs = picture(64, 96), []
    for backend in BACKENDS:
        base = Codec.of(models[0], backend=backend)
        codecs.append(Codec.of(models[1], backend=backend, base=base))
    for writer, reader in (codecs, codecs[::-1]):
        encoded = writer.encode(image, 3)
        decoded = reader.decode(encoded.data)
        for found, wanted in zip(decoded.latents, encoded.latents):
            np.testing.assert_array_equal(found, wanted)
        assert np.abs(decoded.image - writer.decompress(encoded.data).astype(int)).max() <= 1


def test_nothing_is_coded_beyond_the_picture(codecs):
    codec, _ = codecs
    image = picture(70, 101)
    _, r_hat = layered.apart(codec.encode(image, 4).latents.y_hat, 8)
    assert np.any(r_hat[17]) and not np.any(r_hat[18:])
    assert np.any(r_hat[:, 25]) and not np.any(r_hat[:, 26:])


def test_targets_are_kept(codecs):
    codec, _ = codecs
    image = picture(64, 64)
    sizes = {q: len(codec.compress(image, q)) for q in (3, 4)}
    limit = (sizes[3] + sizes[4]) // 2
    encoded = codec.encode(image, target_size=limit)
    assert 0.9 * limit < len(encoded.data) <= limit
    encoded = codec.encode(image, target_psnr=36)
    assert metrics.psnr(image, codec.decompress(encoded.data)) >= 36


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_search_is_for_the_model_below(backend, tiny_model_path):
    pytest.importorskip("tensorflow_compression")
    stored = ModelFile.read(tiny_model_path)
    base = Codec.of(stored, backend=backend)
    codec = Codec.of(random_models.layer_file(stored), backend=backend, base=base)
    image = picture(64, 128)
    encoded = codec.encode(image, 4, refine=2)
    y_hat, _ = layered.apart(encoded.latents.y_hat, 8)
    below = base.encode(image, 2, refine=2).latents
    np.testing.assert_array_equal(y_hat, below.y_hat)
    np.testing.assert_array_equal(encoded.latents.z_hat, below.z_hat)
    plain = metrics.psnr(image, codec.decompress(codec.compress(image, 4)))
    assert metrics.psnr(image, codec.decompress(encoded.data)) > plain - 0.5


def test_progress_hears_of_both(codecs, monkeypatch):
    monkeypatch.setattr(stages, "SHOWN_POSITIONS", 1)  # small pictures have no bar
    codec, _ = codecs
    image, told = picture(100, 150), {}

    class Bar:
        def __init__(self, total, desc):
            told[desc] = [total, 0]
            self._count = told[desc]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, steps=1):
            self._count[1] += steps

    codec.decompress(codec.compress(image, 3, progress=Bar), progress=Bar)
    assert {"entropy coding", "entropy decoding"} <= set(told)
    assert all(total == done for total, done in told.values())


def test_damaged_streams_are_refused(codecs):
    codec, _ = codecs
    parts = container.unpack(codec.compress(picture(64, 64), 3))
    for z_stream, y_stream in (
        (b"\xff\xff\xff\x7f" + parts.z_stream, parts.y_stream),
        (b"\x80" + parts.z_stream, parts.y_stream),
        (parts.z_stream + b"\1\0\0", parts.y_stream),
        (parts.z_stream, parts.y_stream + b"\1\0\0"),
    ):
        changed = dataclasses.replace(parts, z_stream=z_stream, y_stream=y_stream)
        with pytest.raises(FormatError):
            codec.decompress(container.pack(changed))


def test_the_model_below_is_found_by_its_identity(models, monkeypatch, tmp_path):
    models[0].save(tmp_path / "below.npz")
    models[1].save(tmp_path / "layer.npz")
    with pytest.raises(ModelError, match="does not ship with this version"):
        Codec.of(models[1])
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    codec = Codec.load("layer")
    assert codec.base.identity == models[0].identity and codec.qualities == range(3, 5)
    assert codec.least_bits == codec.base.least_bits > 0
    assert codec.base.memory is codec.memory


def test_a_scale_of_a_model_and_its_layer(models, monkeypatch, tmp_path):
    """The model below is not loaded twice; a model that was there before still reads its files."""
    former = random_models.model_file("apart")
    for name, file in (("below", models[0]), ("layer", models[1]), ("former", former)):
        file.save(tmp_path / f"{name}.npz")
        monkeypatch.setitem(registry.RELEASED, name, file.identity.hex())
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    monkeypatch.setattr(registry, "DEFAULT_MODEL", "below")
    higher = registry.Continuation("layer", 3 - 1 / 16, 4, former=("former",))
    monkeypatch.setattr(registry, "DEFAULT_CONTINUATION", higher)
    monkeypatch.setitem(registry.FIRST_QUALITIES, models[1].identity.hex(), 3)
    codec, image = Codec.load(), picture(64, 64)
    assert codec.qualities == range(1, 5)
    for quality, name in ((2, "below"), (3, "layer"), (4, "layer")):
        data = codec.compress(image, quality)
        assert container.unpack(data).model_id.hex() == registry.RELEASED[name]
        assert codec.decode(data).quality == quality
    assert codec.at_step(32)[0].base is codec
    old = Codec.load("former").compress(image, 4)
    np.testing.assert_array_equal(codec.decompress(old), Codec.load("former").decompress(old))


def test_a_layer_is_no_model_of_pictures(models, tmp_path):
    with pytest.raises(ModelError, match="is an enhancement layer"):
        onnx.save(models[1], tmp_path / "onnx")
    pytest.importorskip("tensorflow_compression")
    from gllmm_tf.export import saved_model
    from gllmm_tf.model.compression import CompressionModel

    with pytest.raises(ModelError, match="is an enhancement layer"):
        CompressionModel.load(models[1])
    with pytest.raises(ModelError, match="is an enhancement layer"):
        saved_model.save(models[1], tmp_path / "saved")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_shipped_layer(backend):
    """Files are as long as the exact model says, and PSNR rises over the border between the models."""
    if backend == "tensorflow":
        pytest.importorskip("tensorflow_compression")
    with Image.open(os.path.join(ROOT, "assets", "friends.png")) as photograph:
        image = np.asarray(photograph.convert("RGB"))[128:256, 300:492]
    codec, found = Codec.load(backend=backend), []
    for quality in (7, 7.0625, 8, 12):
        encoded = codec.encode(image, quality)
        parts = container.unpack(encoded.data)
        z_stream = parts.z_stream
        if quality > 7:
            fields = container.Fields(z_stream, 0, len(z_stream))
            z_stream = fields.take(fields.varint("length"), "z stream")
        streams = 8 * (len(parts.z_stream) + len(parts.y_stream) - len(z_stream))  # of y and r
        bits = codec.information_bits(encoded.latents, quality)
        flags = 144 + 48  # of empty channels, a bit each at most
        assert -8 < streams - bits < 0.005 * bits + flags
        decoded = codec.decode(encoded.data)
        assert np.array_equal(decoded.latents.y_hat, encoded.latents.y_hat)
        found.append((len(encoded.data), metrics.psnr(image, decoded.image)))
    sizes, psnr = zip(*found)
    assert list(sizes) == sorted(sizes)
    # Just above the border the layer says next to nothing about this smooth detail.
    assert abs(psnr[1] - psnr[0]) < 0.01 and psnr[0] + 0.5 < psnr[2] < 42 < psnr[3]


def test_the_transform_of_blocks_is_orthonormal():
    """Analysis and synthesis by their kernels, against the matrix product on blocks."""
    from gllmm_tf.portable import transforms
    from gllmm_tf.portable.tiling import PortableTransform

    rng = np.random.default_rng(0)
    components, _ = np.linalg.qr(rng.normal(size=(48, 48)))
    x = rng.normal(size=(8, 12, 3)).astype(np.float32)
    convs = [transforms.Conv(k, None, 2) for k in block_transform.analysis_kernels(components)]
    found = PortableTransform(convs, 3).whole()(x.transpose(2, 0, 1)[None])
    blocks = x.reshape(2, 4, 3, 4, 3).transpose(0, 2, 1, 3, 4).reshape(2, 3, 48)
    np.testing.assert_allclose(found[0].transpose(1, 2, 0), blocks @ components, atol=1e-5)
    kernels = block_transform.synthesis_kernels(components)
    ups = [transforms.SubPixelConv(k, np.zeros(k.shape[3], np.float32)) for k in kernels]
    back = PortableTransform(ups, 48).whole()(found)
    np.testing.assert_allclose(back[0].transpose(1, 2, 0), x, atol=1e-5)


def test_latents_beside_each_other():
    rng = np.random.default_rng(1)
    y, r = rng.normal(size=(2, 3, 5)), rng.normal(size=(8, 12, 7))
    both = layered.beside(y, r)
    assert both.shape == (2, 3, 5 + 16 * 7) and both.dtype == np.float32
    for found, wanted in zip(layered.apart(both, 5), (y, r)):
        np.testing.assert_array_equal(found, wanted.astype(np.float32))
    np.testing.assert_array_equal(both[1, 2, 5:12], r[4, 8].astype(np.float32))
