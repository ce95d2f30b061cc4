"""One scale of qualities over two models: which of them codes, and which of them reads."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from cli.commandline import gllmm  # noqa: E402
from portable import random_models  # noqa: E402
from portable.test_codec import picture  # noqa: E402

from gllmm_tf.codec.base import Codec  # noqa: E402
from gllmm_tf.errors import ModelError  # noqa: E402
from gllmm_tf.files import container  # noqa: E402
from gllmm_tf.portable.codec import PortableCodec  # noqa: E402
from gllmm_tf.zoo import registry  # noqa: E402

ABOVE = 3 - 1 / 16  # the lower model has 1 to 3, the higher one 3 to 5


@pytest.fixture
def models(monkeypatch, tmp_path):
    """{name: model file}, the default and what goes on above it; loads are counted."""
    lower, higher = (random_models.model_file(name) for name in ("variable", "apart"))
    files = {"lower": growing(lower, -1), "higher": growing(higher, 2)}
    for name, file in files.items():
        file.save(tmp_path / f"{name}.npz")
        monkeypatch.setitem(registry.RELEASED, name, file.identity.hex())
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    monkeypatch.setattr(registry, "DEFAULT_MODEL", "lower")
    higher = registry.Continuation("higher", ABOVE, 5)
    monkeypatch.setattr(registry, "DEFAULT_CONTINUATION", higher)
    monkeypatch.setitem(registry.FIRST_QUALITIES, files["higher"].identity.hex(), 3)
    return files


def growing(file, first):
    """The model with gains that grow from quality to quality, so that its files do."""
    step = first + 1.5 * np.arange(3, dtype=np.float32)[:, None]
    file.weights["gains"][0] += step
    file.weights["gains"][1] -= step
    return file


@pytest.mark.parametrize("backend", ["portable", "tensorflow"])
def test_each_quality_is_coded_by_its_model(models, backend):
    if backend == "tensorflow":
        pytest.importorskip("tensorflow")
    codec, image = Codec.load(backend=backend), picture(70, 100)
    assert codec.qualities == range(1, 6) and codec.num_qualities == 5
    alone = {name: Codec.load(name, backend=backend) for name in models}
    assert alone["lower"].qualities == range(1, 4) and alone["higher"].qualities == range(3, 6)
    for quality, name, index in (
        (1, "lower", 0),
        (ABOVE, "lower", 31),
        (3, "higher", 0),
        (4.25, "higher", 20),
        (5, "higher", 32),
    ):
        encoded = codec.encode(image, quality)
        parts = container.unpack(encoded.data)
        assert parts.model_id == encoded.identity == models[name].identity
        assert parts.quality_index == index == codec.quality_index(quality)
        assert encoded.data == alone[name].compress(image, quality)
        assert registry.quality_of(parts.model_id, index) == encoded.quality == quality
        decoded = codec.decode(encoded.data)
        assert decoded.quality == quality
        np.testing.assert_array_equal(decoded.image, alone[name].decompress(encoded.data))
        shown = codec.reconstruct(encoded.latents, image.shape[:2], quality)
        np.testing.assert_array_equal(shown, decoded.image)
        assert codec.information_bits(encoded.latents, quality) > 0


def test_the_higher_model_is_loaded_when_it_is_needed(models, monkeypatch):
    read, image = [], picture(64, 64)
    original = registry.read_model
    monkeypatch.setattr(registry, "read_model", lambda name: read.append(name) or original(name))
    codec = PortableCodec(
        models["lower"], continuation=registry.DEFAULT_CONTINUATION, tile=128, memory=4000
    )
    codec.decompress(codec.compress(image, 2))
    assert read == []
    data = codec.compress(image, 4)
    codec.decompress(data)
    codec.compress(image, 5)
    assert read == ["higher"]
    higher, _ = codec.at_step(48)
    assert higher.memory is codec.memory


def test_a_quality_beyond_the_scale_is_refused(models):
    codec = Codec.load()
    for quality in (0.9, 5.1):
        with pytest.raises(ModelError, match="it must be from 1 to 5"):
            codec.check_quality(quality)
    with pytest.raises(ModelError, match="it must be from 3 to 5"):
        Codec.load("higher").compress(picture(64, 64), 2)
    with pytest.raises(ModelError, match="not by this one"):
        Codec.load("lower").decompress(codec.compress(picture(64, 64), 5))


def test_targets_are_looked_for_on_the_whole_scale(models):
    codec, image = Codec.load(), picture(96, 64)
    sizes = {step: len(codec.compress(image, 1 + step / 16)) for step in (0, 31, 48, 64)}
    assert sizes[31] < sizes[48] < sizes[64]
    for limit in (sizes[31], (sizes[48] + sizes[64]) // 2, sizes[64] + 999):
        encoded = codec.encode(image, target_size=limit)
        assert len(encoded.data) <= limit
        step = round((encoded.quality - 1) * 16)
        if step < 64:
            assert len(codec.compress(image, 1 + (step + 1) / 16)) > limit
        assert (encoded.identity == models["higher"].identity) == (encoded.quality > ABOVE)


def test_the_command_names_quality_and_model(models, tmp_path, capsys):
    from PIL import Image

    Image.fromarray(picture(64, 64)).save(tmp_path / "a.png")
    file = str(tmp_path / "a.gllmm")
    assert gllmm("compress", tmp_path / "a.png", file, "--quality=4.5") == 0
    assert gllmm("info", file) == 0
    shown = capsys.readouterr().out
    assert f"model      higher ({models['higher'].identity.hex()})" in shown
    assert "quality    4.5\n" in shown
    assert gllmm("decompress", file, tmp_path / "b.png") == 0


def test_the_default_is_as_the_models_say():
    """What stands in the registry, so that nothing has to be read, is what stands in the files."""
    for name, identity in registry.RELEASED.items():
        first = registry.read_model(name).config.first_quality
        assert registry.FIRST_QUALITIES.get(identity, 1) == first
    higher = registry.DEFAULT_CONTINUATION
    if higher:
        config = registry.read_model(higher.name).config
        own = registry.read_model().config.qualities
        assert config.qualities[-1] == higher.highest
        assert own[0] < higher.above <= own[-1] and config.first_quality <= higher.above + 1 / 16
        assert higher.above * 16 % 1 == 0


def test_memory_is_set_aside_for_the_second_model(models, monkeypatch):
    """What the pictures may take becomes less when it is loaded, once."""
    codec, taken = Codec.load(memory=4000), []
    monkeypatch.setattr(codec.memory, "set_aside", taken.append)
    codec.compress(picture(64, 64), 2)
    assert taken == []
    for _ in range(2):
        codec.compress(picture(64, 64), 5)
    assert len(taken) == 1 and taken[0] > 0
