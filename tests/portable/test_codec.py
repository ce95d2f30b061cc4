"""The codec without TensorFlow, as a user meets it."""

import concurrent.futures
import contextlib
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import DATA, ROOT

pytest.importorskip("onnxruntime")

from portable import random_models  # noqa: E402

from gllmm_tf.errors import (  # noqa: E402
    FormatError,
    GllmmError,
    ImageError,
    ModelError,
    OutOfMemoryError,
)
from gllmm_tf.files import container  # noqa: E402
from gllmm_tf.portable import tiling  # noqa: E402
from gllmm_tf.portable.codec import PortableCodec  # noqa: E402


@pytest.fixture(scope="module")
def codec():
    return PortableCodec(random_models.model_file("variable", empty_rows=True))


@pytest.fixture(scope="module", params=list(random_models.CONFIGS))
def any_codec(request):
    return PortableCodec(random_models.model_file(request.param))


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    base = 120 + 60 * np.sin(rows / 11.0) + 40 * np.cos(columns / 17.0)
    pixels = np.stack([base, 0.8 * base, 255 - base], -1) + rng.normal(size=(height, width, 3)) * 4
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (65, 130), (3, 200), (100, 40)])
def test_round_trip(any_codec, shape):
    image = picture(*shape)
    encoded = any_codec.encode(image)
    decoded = any_codec.decode(encoded.data)
    assert decoded.image.shape == image.shape and decoded.image.dtype == np.uint8
    for ours, theirs in zip(decoded.latents, encoded.latents):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(
        decoded.image, any_codec.reconstruct(encoded.latents, shape, decoded.quality)
    )
    assert any_codec.compress(image) == encoded.data
    assert set(decoded.seconds) == {"container", "entropy decoding", "synthesis"}
    assert set(encoded.seconds) == {"container", "entropy coding", "analysis"}


def test_golden_picture():
    codec = PortableCodec.load(os.path.join(DATA, "golden_model.npz"))
    with open(os.path.join(DATA, "golden.gllmm"), "rb") as f:
        decoded = codec.decode(f.read())
    with np.load(os.path.join(DATA, "golden_latents.npz")) as golden:
        np.testing.assert_array_equal(decoded.latents.y_hat, golden["y_hat"])
        np.testing.assert_array_equal(decoded.latents.z_hat, golden["z_hat"])


def test_a_shipped_model():
    """An ordinary picture comes back close, and finer at a higher quality."""
    codec = PortableCodec.load("gllmm-n48")
    image = picture(90, 150)
    errors, sizes = [], []
    for quality in (2, 7):
        data = codec.compress(image, quality)
        errors.append(np.mean((codec.decompress(data) - image.astype(float)) ** 2))
        sizes.append(len(data))
    assert errors[1] < errors[0] < 100 and sizes[0] < sizes[1]


def test_qualities(codec):
    image = picture(64, 64)
    assert codec.num_qualities == 3
    assert codec.decode(codec.compress(image)).quality == 3  # the default, 4, is beyond
    for quality, stored in ((1, 1), (2.03, 2), (2.04, 2.0625), (3, 3)):
        assert codec.decode(codec.compress(image, quality)).quality == stored
    for quality in (0.9, 3.1, float("nan")):
        with pytest.raises(ModelError, match="from 1 to 3") as error:
            codec.compress(image, quality)
        assert error.value.argument == "quality"
    fixed = PortableCodec(random_models.model_file("cheng2020"))
    assert fixed.decode(fixed.compress(image)).quality is None
    with pytest.raises(ModelError, match="fixed rate"):
        fixed.compress(image, 2)


def test_batches_and_metadata(codec):
    images = [picture(40, 30, seed) for seed in range(2)]
    data = codec.compress(images, 2, metadata={9: b"abc"})
    assert data == codec.compress(np.stack(images), 2, metadata={9: b"abc"})
    for one, decoded in zip(data, codec.decompress(data)):
        assert codec.decode(one).metadata == {9: b"abc"}
        np.testing.assert_array_equal(decoded, codec.decompress(one))


@pytest.mark.parametrize("crop", [(0, 0, 1, 1), (149, 89, 1, 1), (70, 10, 33, 60), (0, 0, 150, 90)])
def test_crops(any_codec, crop):
    data = any_codec.compress(picture(90, 150))
    whole = any_codec.decompress(data)
    x, y, width, height = crop
    part = any_codec.decompress(data, crop=crop)
    wanted = whole[y : y + height, x : x + width]
    assert part.shape == wanted.shape
    assert np.abs(part.astype(int) - wanted).max() <= 1
    assert np.mean(part != wanted) < 0.01


@pytest.mark.parametrize("crop", [(-1, 0, 5, 5), (0, 0, 0, 5), (140, 0, 11, 5), (0, 86, 5, 5)])
def test_crops_outside(codec, crop):
    data = codec.compress(picture(90, 150))
    with pytest.raises(ImageError, match="not inside the picture of 150 x 90"):
        codec.decompress(data, crop=crop)


def test_tiles(any_codec):
    """Files of tiles and of whole pictures are read by both."""
    image = picture(130, 300)
    tiled = PortableCodec(any_codec.model_file, tile=64)
    whole_file, tiled_file = any_codec.encode(image), tiled.encode(image)
    latents = [encoded.latents.y_hat for encoded in (whole_file, tiled_file)]
    assert np.mean(latents[0] != latents[1]) < 0.001
    for encoded in (whole_file, tiled_file):
        whole, parts = any_codec.decode(encoded.data), tiled.decode(encoded.data)
        np.testing.assert_array_equal(whole.latents.y_hat, encoded.latents.y_hat)
        np.testing.assert_array_equal(parts.latents.y_hat, encoded.latents.y_hat)
        assert np.abs(whole.image.astype(int) - parts.image).max() <= 1


def test_progress(codec, monkeypatch):
    bars = []

    class Bar(contextlib.AbstractContextManager):
        def __init__(self, total, desc):
            self.total, self.desc, self.done = total, desc, 0
            bars.append(self)

        def update(self, count=1):
            self.done += count

        def __exit__(self, *error):
            pass

    monkeypatch.setattr("gllmm_tf.codec.stages.SHOWN_POSITIONS", 1)
    tiled = PortableCodec(codec.model_file, tile=64)
    tiled.decompress(tiled.compress(picture(64, 200), progress=Bar), progress=Bar)
    named = [bar.desc for bar in bars]
    assert named == ["analysis", "entropy coding", "entropy decoding", "synthesis"]
    assert all(bar.done == bar.total > 1 for bar in bars)
    bars.clear()
    monkeypatch.undo()
    codec.decompress(codec.compress(picture(64, 200), progress=Bar), progress=Bar)
    assert not bars  # nobody waits for a small picture


def test_threads_share_a_codec(codec):
    images = [picture(40 + 30 * i, 200 - 40 * i, i) for i in range(4)]
    wanted = [codec.compress(image) for image in images]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(codec.compress, images)) == wanted
        decoded = list(pool.map(codec.decompress, wanted))
    for pixels, data in zip(decoded, wanted):
        np.testing.assert_array_equal(pixels, codec.decompress(data))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        "photo.png",
    ],
)
def test_what_is_no_picture(codec, image):
    with pytest.raises(ImageError, match="picture"):
        codec.compress(image)


def test_files_that_cannot_be_read(codec):
    data = codec.compress(picture(64, 64))
    with pytest.raises(FormatError, match="checksum"):
        codec.decompress(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(FormatError, match="limit of 100"):
        codec.decompress(data, max_pixels=100)
    other = PortableCodec(random_models.model_file("variable", seed=1))
    with pytest.raises(ModelError, match=f"by model {codec.identity.hex()}"):
        other.decompress(data)
    parts = vars(container.unpack(data))
    beyond = container.pack(container.Container(**{**parts, "quality_index": 33}))
    with pytest.raises(FormatError, match="quality index 33"):
        codec.decompress(beyond)
    damaged = container.pack(container.Container(**{**parts, "y_stream": b"\x55" * 40}))
    with pytest.raises(FormatError, match="damaged although the checksum fits"):
        codec.decompress(damaged)


def test_refinement_names_what_it_needs(codec, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        GllmmError, match=r"needs TensorFlow, .* pip install 'gllmm_tf\[tensor"
    ) as error:
        codec.compress(picture(64, 64), refine=3)
    assert error.value.argument == "refine" and "\n" not in str(error.value)


def test_latents_that_are_not_finite():
    model = random_models.model_file("variable")
    model.weights["g_a"][0] = model.weights["g_a"][0] * np.float16(np.inf)
    with pytest.raises(ModelError, match="not finite"):
        PortableCodec(model).compress(picture(64, 64))


def test_information(codec):
    encoded = codec.encode(picture(128, 128), 2)
    bits = codec.information_bits(encoded.latents, 2)
    assert bits == codec.coder.information_bits(*encoded.latents, 16) > 0


def test_memory_that_runs_out(codec, monkeypatch):
    """What onnxruntime says of memory is no fault of the picture."""
    data = codec.compress(picture(64, 64))

    def fail(x):
        raise MemoryError("Failed to allocate memory for requested buffer of size 1")

    monkeypatch.setattr(tiling.PortableTransform, "whole", lambda self: fail)
    with pytest.raises(OutOfMemoryError, match="not enough memory for the synthesis"):
        codec.decompress(data)
    with pytest.raises(OutOfMemoryError, match="smaller tiles"):
        codec.compress(picture(64, 64))


LIMITED = """
import resource, sys
import numpy as np
from gllmm_tf.errors import OutOfMemoryError
from gllmm_tf.portable.codec import PortableCodec
from portable import random_models
codec = PortableCodec(random_models.model_file("variable"), memory=10**6)
codec.compress(np.zeros((64, 64, 3), np.uint8))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
try:
    codec.compress(np.zeros((4096, 4096, 3), np.uint8))
except OutOfMemoryError as error:
    assert "not enough memory for the analysis" in str(error), error
else:
    raise AssertionError("there was enough memory")
"""

UNAIDED = """
import sys
import numpy as np
from portable import random_models
from gllmm_tf.portable.codec import PortableCodec
codec = PortableCodec(random_models.model_file("variable"))
codec.decompress(codec.compress(np.zeros((70, 70, 3), np.uint8)), crop=(3, 3, 9, 9))
found = [name for name in sys.modules if name.startswith(("tensorflow", "keras", "onnx."))]
assert not found, found
"""


def run_program(program):
    path = os.pathsep.join([ROOT, os.path.join(ROOT, "tests")])
    environment = {**os.environ, "PYTHONPATH": path}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_a_real_lack_of_memory():
    run_program(LIMITED)


def test_no_tensorflow_and_no_onnx():
    run_program(UNAIDED)
