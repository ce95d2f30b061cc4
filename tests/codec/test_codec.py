"""The codec end to end on a tiny random model: sizes, files of others, threads, retracing."""

import concurrent.futures
import contextlib
import dataclasses
import inspect
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from portable import random_models

import gllmm_tf
from gllmm_tf import config
from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec
from gllmm_tf.codec.tensorflow_tiling import TensorFlowTransform
from gllmm_tf.errors import FormatError, ImageError, ModelError
from gllmm_tf.files import container
from gllmm_tf.model.compression import CompressionModel, build
from gllmm_tf.portable.codec import PortableCodec
from gllmm_tf.zoo.model_file import ModelFile, export_model
from gllmm_tf.zoo.registry import find_model, name_of


@pytest.mark.parametrize("shape", [(1, 1), (1, 130), (65, 63), (96, 144)])
@pytest.mark.parametrize("quality", [1, 3.5, 8])
def test_round_trip(tiny_tensorflow_codec, sample_pixels, shape, quality):
    pixels = np.resize(sample_pixels[: shape[0], : shape[1]], (*shape, 3))
    encoded = tiny_tensorflow_codec.encode(pixels, quality)
    decoded = tiny_tensorflow_codec.decode(encoded.data)
    assert decoded.image.shape == pixels.shape and decoded.image.dtype == np.uint8
    assert decoded.quality == quality
    for ours, theirs in zip(encoded.latents, decoded.latents):
        np.testing.assert_array_equal(ours, theirs)
    wanted = tiny_tensorflow_codec.reconstruct(encoded.latents, shape, quality)
    np.testing.assert_array_equal(decoded.image, wanted)


@pytest.mark.parametrize("quality", [1, 8])
def test_grey_comes_back_grey(tiny_codec, sample_pixels, quality):
    """For three bytes; what does not know the tag shows RGB."""
    grey = sample_pixels[..., :1].repeat(3, -1)
    encoded = tiny_codec.encode(grey, quality)
    decoded = tiny_codec.decode(encoded.data)
    assert decoded.metadata == {container.TAG_GREY: b""}
    for channel in (1, 2):
        np.testing.assert_array_equal(decoded.image[..., 0], decoded.image[..., channel])
    wanted = tiny_codec.reconstruct(encoded.latents, grey.shape[:2], quality)
    assert np.abs(decoded.image[..., 0] - wanted.mean(-1)).max() <= 0.5
    again = tiny_codec.reconstruct(encoded.latents, grey.shape[:2], quality, is_grey=True)
    np.testing.assert_array_equal(decoded.image, again)
    crop = tiny_codec.decompress(encoded.data, crop=(5, 7, 20, 10))
    assert np.ptp(crop, axis=-1).max() == 0
    parts = container.unpack(encoded.data)
    unknown = container.Container(**{**vars(parts), "metadata": {}})
    assert len(encoded.data) == len(container.pack(unknown)) + 3
    np.testing.assert_array_equal(tiny_codec.decompress(container.pack(unknown)), wanted)


@pytest.mark.parametrize("channel", range(3))
def test_one_pixel_of_another_colour_is_not_grey(tiny_codec, sample_pixels, channel):
    pixels = sample_pixels[..., :1].repeat(3, -1)
    pixels[-1, -1, channel] ^= 1
    assert tiny_codec.decode(tiny_codec.compress(pixels)).metadata == {}
    said = tiny_codec.compress(pixels, metadata={container.TAG_GREY: b""})
    assert tiny_codec.decode(said).metadata == {}


def test_metadata_larger_than_the_picture_are_said(tiny_codec, sample_pixels):
    large = {container.TAG_EXIF: bytes(100_000), container.TAG_ALPHA: b"alpha"}
    notes = tiny_codec.encode(sample_pixels, metadata=large).notes
    assert len(notes) == 1 and "(exif) take 100000 bytes" in notes[0]
    assert tiny_codec.encode(sample_pixels, metadata={container.TAG_EXIF: b"small"}).notes == ()


def test_size_is_information_plus_little(tiny_tensorflow_codec, sample_pixels, tiny_model_path):
    model = CompressionModel.load(tiny_model_path)
    for quality in (1.0, 4.0):
        encoded = tiny_tensorflow_codec.encode(sample_pixels, quality)
        y_hat, z_hat = (t[None].astype(np.float32) for t in encoded.latents)
        _, z_bits = model.information_bits(y_hat, z_hat, tf.constant([quality]))
        bits = tiny_tensorflow_codec.information_bits(encoded.latents, quality) + float(z_bits[0])
        assert bits / 8 <= len(encoded.data) <= 1.01 * bits / 8 + 40


def test_header_is_at_most_32_bytes(tiny_tensorflow_codec, sample_pixels):
    data = tiny_tensorflow_codec.compress(sample_pixels)
    parts = container.unpack(data)
    assert len(data) - len(parts.z_stream) - len(parts.y_stream) <= 32


def test_decodes_in_another_process(
    tiny_tensorflow_codec, tiny_model_path, sample_pixels, tmp_path
):
    (tmp_path / "a.gllmm").write_bytes(tiny_tensorflow_codec.compress(sample_pixels, 5))
    program = (
        "import sys, numpy as np; from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec;"
        "data = open(sys.argv[2], 'rb').read();"
        "np.save(sys.argv[3], TensorFlowCodec.load(sys.argv[1]).decompress(data))"
    )
    arguments = [tiny_model_path, str(tmp_path / "a.gllmm"), str(tmp_path / "a.npy")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    here = tiny_tensorflow_codec.decompress((tmp_path / "a.gllmm").read_bytes())
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), here)


def test_another_models_file_is_refused(tiny_tensorflow_codec, sample_pixels):
    other = PortableCodec(random_models.model_file("cheng2020"))
    data = other.compress(sample_pixels)
    assert other.decompress(data).shape == sample_pixels.shape
    with pytest.raises(ModelError, match=other.identity.hex()):
        tiny_tensorflow_codec.decompress(data)
    with pytest.raises(ModelError, match="GLLMM_MODELS"):
        find_model(other.identity)


@pytest.mark.parametrize(
    "make",
    [
        lambda: config.gllmm(8, entropy_widths=(8, 8), families=("laplacian",), components=1),
        lambda: config.gllmm(8, entropy_widths=(8, 8), families=("gaussian", "logistic")),
        lambda: config.gllmm(8, entropy_widths=(8, 8), stages=3, components=2),
        lambda: config.gllmm(8, entropy_widths=(8, 8), stages=1),
    ],
)
def test_ablations_compress(make, sample_pixels, tmp_path):
    export_model(build(make()), tmp_path / "m.npz", {})
    encoded = TensorFlowCodec.load(tmp_path / "m.npz").encode(sample_pixels)
    decoded = PortableCodec.load(tmp_path / "m.npz").decode(encoded.data)
    np.testing.assert_array_equal(decoded.latents[0], encoded.latents[0])


def test_threads_share_a_codec(tiny_tensorflow_codec, sample_pixels):
    qualities = [1, 2, 4, 6, 8, 3]
    alone = [tiny_tensorflow_codec.compress(sample_pixels, q) for q in qualities]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda q: tiny_tensorflow_codec.compress(sample_pixels, q), qualities)
        )
        images = list(pool.map(tiny_tensorflow_codec.decompress, together))
    assert together == alone
    for data, image in zip(alone, images):
        np.testing.assert_array_equal(tiny_tensorflow_codec.decompress(data), image)


def test_no_retracing_for_other_sizes(tiny_tensorflow_codec, sample_pixels):
    def tracing_count():
        networks = tiny_tensorflow_codec.networks
        transforms = (*networks.analysis_transforms, networks.synthesis_transform)
        return [part.tracing_count for part in (*transforms, tiny_tensorflow_codec.coder)]

    tiny_tensorflow_codec.decompress(tiny_tensorflow_codec.compress(sample_pixels))
    count = tracing_count()
    tiny_tensorflow_codec.decompress(tiny_tensorflow_codec.compress(sample_pixels[:70, :10]))
    assert tracing_count() == count and min(count) > 0


@pytest.fixture(scope="module")
def tiles_codec(tiny_model_path):
    return TensorFlowCodec.load(tiny_model_path, tile=100)


@pytest.mark.parametrize("shape", [(60, 300), (300, 60), (130, 200)])
def test_tiles_equal_the_whole_picture(tiny_tensorflow_codec, tiles_codec, sample_pixels, shape):
    pixels = np.tile(sample_pixels, (4, 4, 1))[: shape[0], : shape[1]]
    whole, tiled = tiny_tensorflow_codec.encode(pixels, 7), tiles_codec.encode(pixels, 7)
    for ours, theirs in zip(tiled.latents, whole.latents):
        assert ours.dtype == np.float32
        different = ours != theirs  # A tie may be rounded otherwise.
        assert np.mean(different) < 1e-3 and np.abs(ours - theirs).max() <= 1
    for data in (whole.data, tiled.data):
        one, other = tiny_tensorflow_codec.decode(data), tiles_codec.decode(data)
        np.testing.assert_array_equal(one.latents[0], other.latents[0])
        assert np.abs(one.image.astype(int) - other.image).max() <= 1


@pytest.mark.parametrize(
    "crop", [(0, 0, 200, 130), (199, 129, 1, 1), (0, 129, 9, 1), (61, 20, 70, 9)]
)
def test_crop_equals_the_whole_picture(tiny_tensorflow_codec, tiles_codec, sample_pixels, crop):
    pixels = np.tile(sample_pixels, (2, 2, 1))[:130, :200]
    data = tiny_tensorflow_codec.compress(pixels)
    whole = tiny_tensorflow_codec.decompress(data).astype(int)
    x, y, width, height = crop
    for codec in (tiny_tensorflow_codec, tiles_codec):
        part = codec.decompress(data, crop=crop)
        assert part.shape == (height, width, 3)
        assert np.abs(part - whole[y : y + height, x : x + width]).max() <= 1


@pytest.mark.parametrize(
    "crop",
    [(0, 0, 145, 1), (0, 0, 1, 97), (-1, 0, 1, 1), (0, 0, 0, 1), (5, 5, 3, -1), (144, 0, 1, 1)],
)
def test_regions_outside_the_picture_are_refused(tiny_tensorflow_codec, sample_pixels, crop):
    data = tiny_tensorflow_codec.compress(sample_pixels)
    with pytest.raises(ImageError, match="not inside the picture of 144 x 96"):
        tiny_tensorflow_codec.decompress(data, crop=crop)


def test_progress_of_large_pictures_only(
    tiny_tensorflow_codec, tiles_codec, sample_pixels, monkeypatch
):
    bars = []

    class Bar(contextlib.nullcontext):
        def __init__(self, total, desc):
            super().__init__(self)
            self.total, self.desc, self.count = total, desc, 0
            bars.append(self)

        def update(self, n=1):
            self.count += n

    def shown(codec):
        bars.clear()
        data = codec.encode(sample_pixels, progress=Bar).data
        pixels = codec.decode(data, progress=Bar).image
        return data, pixels, [(bar.desc, bar.total, bar.count) for bar in bars]

    data, pixels, none = shown(tiny_tensorflow_codec)
    assert none == []
    assert shown(tiles_codec)[2] == [("analysis", 2, 2), ("synthesis", 2, 2)]
    monkeypatch.setattr(
        "gllmm_tf.codec.stages.SHOWN_POSITIONS", 96
    )  # 8 x 12, all of this picture's
    again, pixels_again, coding = shown(tiny_tensorflow_codec)
    assert coding == [("entropy coding", 33, 33), ("entropy decoding", 33, 33)]
    assert again == data and np.array_equal(pixels_again, pixels)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
    ],
)
def test_wrong_arrays_are_refused(tiny_tensorflow_codec, image):
    with pytest.raises(ImageError, match="uint8"):
        tiny_tensorflow_codec.compress(image)


@pytest.mark.parametrize("image", ["a.png", b"a.png", 7, None])
def test_what_is_no_array_is_refused(tiny_tensorflow_codec, image):
    with pytest.raises(ImageError, match="a picture is"):
        tiny_tensorflow_codec.compress(image)


def test_several_pictures(tiny_tensorflow_codec, sample_pixels):
    """A list of pictures of any sizes, and a batch: each as if it were alone."""
    pictures = [sample_pixels, sample_pixels[:40, :70]]
    files = tiny_tensorflow_codec.compress(pictures, 3)
    assert files == [tiny_tensorflow_codec.compress(picture, 3) for picture in pictures]
    for picture, decoded in zip(pictures, tiny_tensorflow_codec.decompress(files)):
        assert decoded.shape == picture.shape
    batch = np.stack([sample_pixels, sample_pixels[::-1]])
    assert tiny_tensorflow_codec.compress(batch) == [
        tiny_tensorflow_codec.compress(picture) for picture in batch
    ]


def test_both_ways_take_the_same_arguments():
    for one, other in (("compress", "encode"), ("decompress", "decode")):
        parameters = [
            inspect.signature(getattr(TensorFlowCodec, n)).parameters.values() for n in (one, other)
        ]
        ours, theirs = ([(p.name, p.kind, p.default) for p in side] for side in parameters)
        assert ours == theirs
    keyword = inspect.Parameter.KEYWORD_ONLY
    assert [kind for _, kind, _ in ours[2:]] == 3 * [keyword]


def test_wrong_quality_is_refused(tiny_tensorflow_codec, sample_pixels):
    for quality in (0.9, 8.1, float("nan")):
        with pytest.raises(ModelError, match="from 1 to 8"):
            tiny_tensorflow_codec.compress(sample_pixels, quality)


def test_quality_index_beyond_the_model_is_refused(tiny_tensorflow_codec, sample_pixels):
    parts = container.unpack(tiny_tensorflow_codec.compress(sample_pixels))
    data = container.pack(container.Container(**{**vars(parts), "quality_index": 113}))
    with pytest.raises(FormatError, match="113"):
        tiny_tensorflow_codec.decompress(data)


def test_declared_size_is_bounded(tiny_tensorflow_codec, sample_pixels):
    parts = container.unpack(tiny_tensorflow_codec.compress(sample_pixels))
    data = container.pack(container.Container(**{**vars(parts), "width": 60000, "height": 60000}))
    with pytest.raises(FormatError, match="max_pixels"):
        tiny_tensorflow_codec.decompress(data)


def test_a_size_for_which_the_streams_are_too_short(tiny_tensorflow_codec, sample_pixels):
    """Whatever the limit, and at once: nothing is allocated for the declared size."""
    codec = tiny_tensorflow_codec
    parts = container.unpack(codec.compress(sample_pixels))
    for width, height in ((16000, 16000), (1 << 21, 2), (64, 1 << 22)):
        changed = dataclasses.replace(parts, width=width, height=height)
        with pytest.raises(FormatError, match=f"{width} x {height} pixels, for which .* too short"):
            codec.decompress(container.pack(changed), max_pixels=1 << 40)


def test_unknown_models(tmp_path):
    with pytest.raises(ModelError, match="no model has this name"):
        TensorFlowCodec.load("nosuch")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ModelError, match="bad.npz"):
        TensorFlowCodec.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "foreign.npz", weights=np.zeros(3))
    with pytest.raises(ModelError, match="not a gllmm_tf model"):
        TensorFlowCodec.load(tmp_path / "foreign.npz")


def test_identity_depends_on_what_decoding_depends_on(tiny_model_path):
    stored = ModelFile.read(tiny_model_path)
    identity = stored.identity
    stored.weights["g_a"][0] = stored.weights["g_a"][0] + np.float16(1)
    assert stored.identity == identity
    stored.weights["g_s"][0] = stored.weights["g_s"][0] + np.float16(1)
    changed = stored.identity
    assert changed != identity
    stored.exact["last/kernel"] = stored.exact["last/kernel"] + np.int16(1)
    assert stored.identity not in (identity, changed)


def test_shipped_models_are_listed_and_load():
    names = gllmm_tf.models()
    assert names
    for name, info in names.items():
        assert info["steps"] > 0
        codec = TensorFlowCodec.load(name)
        assert codec.info == info and name_of(codec.identity) == name


def test_a_stage_works_on_one_picture_at_a_time(tiny_tensorflow_codec, sample_pixels, monkeypatch):
    """Kernels of TensorFlow 2.14 crash when threads share one with pictures of different shapes."""
    at_work, most = [], []
    tiles = TensorFlowTransform.tiles

    def watched(transform, *args):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.01)
        yield from tiles(transform, *args)
        at_work.pop()

    monkeypatch.setattr(TensorFlowTransform, "tiles", watched)
    pictures = [sample_pixels, sample_pixels.transpose(1, 0, 2), sample_pixels[:40], sample_pixels]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(tiny_tensorflow_codec.compress, pictures))
    assert most == 8 * [1]  # g_a and h_a of each
