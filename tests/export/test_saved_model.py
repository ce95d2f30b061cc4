"""The SavedModel: the codec's bytes and pixels, without gllmm_tf, and every kind of damage refused."""

import os
import pathlib
import random
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from experiments.systems import saved_model_agreement
from gllmm_tf import config
from gllmm_tf.cli import jobs
from gllmm_tf.cli import main as cli
from gllmm_tf.cli.parser import parse_args
from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec
from gllmm_tf.errors import FormatError, GllmmError
from gllmm_tf.export import container_graph, folders
from gllmm_tf.export import saved_model as export
from gllmm_tf.files import container, images
from gllmm_tf.model.compression import CompressionModel, build
from gllmm_tf.zoo.model_file import ModelFile

SHAPES = [(1, 1), (1, 130), (65, 63), (96, 144)]
QUALITIES = [1, 3.5, 8]
IDENTITY = bytes([0, 255, 137, 0, 10, 13, 200, 0])


def gllmm(*args):
    """Runs the command in this process and returns its exit status."""
    return cli.main(parse_args(["gllmm", *map(str, args)]))


@pytest.fixture(scope="module")
def folder(tiny_model_path, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("saved") / "tiny" / "1")
    assert gllmm("export", path, "--model", tiny_model_path) == 0
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return tf.saved_model.load(folder).signatures


@pytest.fixture(scope="module")
def fixed_rate():
    """(codec, signatures) of a fixed-rate model."""
    tf.keras.utils.set_random_seed(2)
    model = build(config.cheng2020(8, entropy_widths=(8, 8)))
    stored = ModelFile.from_model(model, {})
    module = export.build_module(stored, max_pixels=9000)
    return TensorFlowCodec(stored), {name: getattr(module, name) for name in export.SIGNATURES}


def compress(signatures, pixels, *quality):
    inputs = {"quality": tf.constant(quality[0], tf.float32)} if quality else {}
    return signatures["compress"](image=tf.constant(pixels), **inputs)["data"].numpy()


def decompress(signatures, data):
    return signatures["decompress"](data=tf.constant(data))["image"].numpy()


def resized(pixels, shape):
    return np.resize(pixels[: shape[0], : shape[1]], (*shape, 3))


def seal(body):
    return body + struct.pack("<I", zlib.crc32(body))


def assert_refused(signatures, data, pattern):
    with pytest.raises(tf.errors.InvalidArgumentError, match=pattern):
        decompress(signatures, data)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("quality", QUALITIES)
def test_bytes_and_pixels_are_the_codecs(
    loaded, tiny_tensorflow_codec, sample_pixels, shape, quality
):
    pixels = resized(sample_pixels, shape)
    data = compress(loaded, pixels, quality)
    assert data == tiny_tensorflow_codec.compress(pixels, quality)
    image = decompress(loaded, data)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, tiny_tensorflow_codec.decompress(data))


def test_quality_is_rounded_to_sixteenths(loaded, tiny_tensorflow_codec, sample_pixels):
    pixels = sample_pixels[:20, :20]
    for quality in (2.99, 3.03124, 3.03125, 3.09375):  # the last two are ties
        assert compress(loaded, pixels, quality) == tiny_tensorflow_codec.compress(pixels, quality)


def test_fixed_rate(fixed_rate, sample_pixels):
    codec, signatures = fixed_rate
    assert [spec.name for spec in signatures["compress"].input_signature] == ["image"]
    for shape in SHAPES[:3]:
        pixels = resized(sample_pixels, shape)
        data = compress(signatures, pixels)
        assert data == codec.compress(pixels)
        np.testing.assert_array_equal(decompress(signatures, data), codec.decompress(data))


def test_runs_without_gllmm_tf(
    folder, tiny_tensorflow_codec, tiny_model_path, sample_pixels, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "load_codec", lambda name=None, **settings: tiny_tensorflow_codec)
    images.write_image("image.png", sample_pixels)
    model = ["--model", tiny_model_path]
    assert gllmm("compress", "image.png", "ours.gllmm", "--quality", 3.5, *model) == 0
    ours = pathlib.Path("ours.gllmm").read_bytes()
    with saved_model_agreement.SavedModelProcess(folder, tmp_path) as process:
        data, image = process.run(sample_pixels, 3.5, ours)
        assert data == ours
        pathlib.Path("theirs.gllmm").write_bytes(data)
        assert gllmm("decompress", "theirs.gllmm", "image.png", *model) == 0
        np.testing.assert_array_equal(image, images.read_image("image.png").pixels)
        assert (
            saved_model_agreement.compare_all(
                tiny_tensorflow_codec, process, ["image.png"], [1, 6.25]
            )
            == 0
        )
        with pytest.raises(GllmmError, match="process with the SavedModel ended"):
            process.run(sample_pixels, 0.0, ours)


def test_agreement_sees_every_difference(tiny_tensorflow_codec, sample_pixels):
    class Wrong:
        def run(self, pixels, quality, data):
            image = tiny_tensorflow_codec.decompress(data)
            image[3, 4] += 1
            return tiny_tensorflow_codec.compress(pixels, quality + 1), image

    data, other = (tiny_tensorflow_codec.compress(sample_pixels, q) for q in (2, 3))
    size, wrong_bytes, wrong_values = saved_model_agreement.compare(
        tiny_tensorflow_codec, Wrong(), sample_pixels, 2
    )
    assert size == len(data)
    assert wrong_bytes >= abs(len(data) - len(other)) and wrong_bytes > 0
    assert wrong_values >= 1


def test_analysis_and_synthesis_are_the_networks(
    loaded, fixed_rate, tiny_tensorflow_codec, sample_pixels
):
    x = np.stack([sample_pixels[:64, :128], sample_pixels[32:, 16:]]).astype(np.float32) / 255
    for signatures, qualities in ((loaded, (2.5, 7.0)), (fixed_rate[1], (None,))):
        for quality in qualities:
            rate = {} if quality is None else {"quality": tf.constant(quality)}
            y = signatures["analysis"](x=tf.constant(x), **rate)["y"]
            assert y.shape == (2, 4, 8, 8)
            x_hat = signatures["synthesis"](y_hat=tf.round(y), **rate)["x_hat"].numpy()
            assert x_hat.shape == x.shape and x_hat.dtype == np.float32
            codec = tiny_tensorflow_codec if rate else fixed_rate[0]
            for i in range(2):
                encoded = codec.encode(np.round(255 * x[i]).astype(np.uint8), quality)
                assert np.mean(np.round(y[i]) == encoded.latents[0]) > 0.999  # ties aside
                pixels = np.round(255 * np.clip(x_hat[i], 0, 1))
                wanted = codec.decompress(encoded.data)
                assert np.mean(np.abs(pixels - wanted)) < 0.01


def test_analysis_has_the_models_weights(loaded, tiny_model_path):
    model = CompressionModel.load(tiny_model_path)
    x = tf.random.stateless_uniform([2, 64, 64, 3], [1, 2])
    wanted = model(x, tf.fill([2], 4.0), training=False)
    y = loaded["analysis"](x=x, quality=tf.constant(4.0))["y"]
    np.testing.assert_allclose(y, wanted.y, atol=1e-4)
    x_hat = loaded["synthesis"](y_hat=wanted.y_hat, quality=tf.constant(4.0))["x_hat"]
    np.testing.assert_allclose(x_hat, wanted.x_hat, atol=1e-4)


def test_metadata_are_skipped(loaded, tiny_tensorflow_codec, sample_pixels):
    pixels = sample_pixels[:30, :70]
    for metadata in ({3: b""}, {1: bytes(300), 7: b"\x80" * 128, 255: b"x"}):
        data = tiny_tensorflow_codec.encode(pixels, 5, metadata=metadata).data
        np.testing.assert_array_equal(
            decompress(loaded, data), tiny_tensorflow_codec.decompress(data)
        )


def test_bad_pictures_and_qualities_are_refused(loaded, sample_pixels):
    for quality in (0.9, 8.1, float("nan")):
        with pytest.raises(tf.errors.InvalidArgumentError, match="quality is .* from 1 to 8"):
            compress(loaded, sample_pixels, quality)
    with pytest.raises(tf.errors.InvalidArgumentError, match="one pixel, not 0 x 5"):
        compress(loaded, np.zeros((0, 5, 3), np.uint8), 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="multiples of 16, not 32 x 40"):
        loaded["analysis"](x=tf.zeros([1, 32, 40, 3]), quality=tf.constant(1.0))


def test_latents_that_are_not_finite_are_refused(tiny_model_path, sample_pixels):
    stored = ModelFile.read(tiny_model_path)
    stored.weights["g_a"][0] = stored.weights["g_a"][0] * np.float16(np.inf)
    functions = export.ExportedCodec(stored)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not finite"):
        functions.compress(tf.constant(sample_pixels), 4.0)


def test_damaged_and_truncated_files_are_refused(loaded, tiny_tensorflow_codec, sample_pixels):
    data = tiny_tensorflow_codec.compress(sample_pixels, 2)
    for end in (*range(23), 40, len(data) - 1):
        assert_refused(loaded, data[:end], "cut short")
    assert_refused(loaded, data + b"\0", "checksum")
    for place in range(5, len(data), 37):
        damaged = bytearray(data)
        damaged[place] ^= 16
        assert_refused(loaded, bytes(damaged), "checksum does not match")


def test_foreign_files_are_refused(loaded, fixed_rate, tiny_tensorflow_codec, sample_pixels):
    assert_refused(
        loaded, b"\x89PNG\r\n\x1a\n" + bytes(40), "begins with 89 50 4e 47 instead of 89 47"
    )
    assert_refused(loaded, b"x", "not a .gllmm file: it begins with 78 instead")
    codec, signatures = fixed_rate
    data = codec.compress(sample_pixels[:8, :8])
    identities = f"written by model {codec.identity.hex()}, not by this one"
    assert_refused(loaded, data, identities)
    assert_refused(signatures, codec.compress(sample_pixels), "limit of 9000 .*model")
    strip = container.unpack(codec.compress(sample_pixels[:1, :100]))
    strip = container.pack(container.Container(**{**vars(strip), "width": 200}))
    assert_refused(signatures, strip, "200 x 1 pixels, more than the limit of 9000")
    with pytest.raises(tf.errors.InvalidArgumentError, match="limit of 9000"):
        compress(signatures, np.zeros([2, 150, 3], np.uint8))
    body = data[:4] + b"\2" + data[5:-4]
    assert_refused(signatures, seal(body), "format version 2, this model reads 1")
    parts = container.unpack(tiny_tensorflow_codec.compress(sample_pixels))
    data = container.pack(container.Container(**{**vars(parts), "quality_index": 113}))
    assert_refused(loaded, data, "quality index 113")
    data = container.pack(container.Container(**{**vars(parts), "width": 60000, "height": 60000}))
    assert_refused(loaded, data, "60000 x 60000 pixels, more than the limit of 16777216")


def test_streams_that_make_no_sense_are_refused(loaded, tiny_tensorflow_codec, sample_pixels):
    parts = container.unpack(tiny_tensorflow_codec.compress(sample_pixels, 2))
    rng = random.Random(5)
    refused = 0
    for length in (0, *[len(parts.y_stream)] * 10):
        fields = {**vars(parts), "y_stream": rng.randbytes(length)}
        data = container.pack(container.Container(**fields))
        try:
            wanted = tiny_tensorflow_codec.decompress(data)
        except FormatError:
            refused += 1
            assert_refused(loaded, data, "streams are damaged although the checksum fits")
        else:
            np.testing.assert_array_equal(decompress(loaded, data), wanted)
    assert refused


def graph_of_unpack(max_pixels=1 << 24, max_index=255):
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(
        lambda data: container_graph.unpack(data, IDENTITY, max_pixels, max_index),
        input_signature=signature,
        autograph=False,
    )


def random_container(rng, lengths):
    tags = rng.sample(range(1, 256), rng.choice((0, 1, 2, 5)))
    metadata = {tag: rng.randbytes(rng.choice(lengths) % 500) for tag in tags}
    width, height, z_length, y_length = (rng.choice(lengths) for _ in range(4))
    return container.Container(
        IDENTITY,
        width + 1,
        height + 1,
        rng.randint(0, 255),
        rng.randbytes(z_length),
        rng.randbytes(y_length),
        metadata,
    )


def test_container_graphs_agree_with_container():
    rng = random.Random(1)
    read = graph_of_unpack(max_pixels=1 << 30)
    signature = [tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.int32)]
    write = tf.function(
        lambda *fields: container_graph.pack(IDENTITY, *fields),
        input_signature=signature + [tf.TensorSpec([], tf.string)] * 2,
        autograph=False,
    )
    for _ in range(60):
        contents = random_container(rng, (0, 1, 126, 127, 128, 4095, 16383, 16384))
        data = container.pack(contents)
        fields = tuple(t.numpy() for t in read(data))
        assert list(fields[0]) == [contents.height, contents.width]
        assert fields[1:] == (contents.quality_index, contents.z_stream, contents.y_stream)
        plain = container.pack(container.Container(**{**vars(contents), "metadata": {}}))
        assert write(*fields).numpy() == plain


def test_graph_refuses_what_container_refuses():
    """Damage under a right checksum: the same files are refused, for the same reason."""
    rng = random.Random(2)
    read = graph_of_unpack()
    refused = 0
    for _ in range(300):
        body = bytearray(container.pack(random_container(rng, (0, 1, 2, 5)))[:-4])
        place = rng.choice((5, *range(15, len(body))))
        body[place] = rng.choice((0, 1, body[place] ^ 128, rng.randint(0, 255)))
        data = seal(bytes(body))
        try:
            wanted = container.unpack(data)
        except FormatError as error:
            refused += 1
            reason = re.split(r"\d| = |: ", str(error))[0].strip()
            if "is not a number" in str(error) or "should have 1 byte" in str(error):
                reason = "is not a number|should have 1 bytes"  # where a varint meets the end
            else:
                reason = re.escape(reason)
            with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
                read(data)
        else:
            size, index, z_stream, y_stream = (t.numpy() for t in read(data))
            assert list(size) == [wanted.height, wanted.width]
            assert (index, z_stream, y_stream) == (
                wanted.quality_index,
                wanted.z_stream,
                wanted.y_stream,
            )
    assert 50 < refused < 250


@pytest.mark.parametrize("length", [4, 5, 7, 8, 9, 255, 256, 257, 1000, 65537])
def test_crc32(length):
    data = random.Random(length).randbytes(length)
    assert container_graph.crc32(tf.constant(data)) == zlib.crc32(data)
    assert container_graph.crc32(tf.constant(bytes(length))) == zlib.crc32(bytes(length))


def test_command_reports_in_one_line(folder, tiny_model_path, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_bytes(b"")
    model = ["--model", tiny_model_path]
    assert gllmm("export", folder, *model) == 1
    assert gllmm("export", file, *model) == 1
    assert gllmm("export", file / "inside", *model) == 1
    assert gllmm("export", tmp_path / "new", "--model", "nosuch") == 1
    assert gllmm("export", tmp_path / "new", "--format", "onnx", "--max_pixels", 5, *model) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert f"{folder}: exists and is not an empty folder" in lines[0]
    assert f"{file}: exists and is not an empty folder" in lines[1]
    assert str(file) in lines[2]
    assert "no model has this name" in lines[3]
    assert "--max_pixels" in lines[4]
    assert os.listdir(tmp_path) == ["file"]


def test_help_tells_the_limit(capsys):
    with pytest.raises(SystemExit):
        gllmm("export", "--help")
    assert f"default {export.MAX_PIXELS}" in " ".join(capsys.readouterr().out.split())


def test_new_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "b"
    with pytest.raises(ZeroDivisionError), folders.new_folder(path) as folder:
        open(os.path.join(folder, "file"), "w").close()
        raise ZeroDivisionError
    assert os.listdir(tmp_path / "a") == []
    path.mkdir()  # an empty folder is filled
    with folders.new_folder(path) as folder:
        open(os.path.join(folder, "file"), "w").close()
        assert os.listdir(path) == []
    assert os.listdir(path) == ["file"] and os.listdir(tmp_path / "a") == ["b"]
