"""The highest quality moves out on its own line; files of the others stay as they were."""

import types

import numpy as np
import pytest

from experiments.tools import extend_range
from gllmm_tf import Codec
from gllmm_tf.config import ModelConfig
from gllmm_tf.errors import ModelError
from gllmm_tf.files import container
from gllmm_tf.model.compression import build
from gllmm_tf.zoo.model_file import ModelFile, export_model


def options(model, pictures, output, by=0.5):
    return types.SimpleNamespace(
        model=str(model),
        by=by,
        train_glob=pictures,
        validation_images=1,
        validation_size=64,
        output=str(output),
    )


def test_only_the_last_quality_changes(tiny_model_path, pictures, sample_pixels, tmp_path):
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    extend_range.run(options(tiny_model_path, pictures, first, by=0.0))
    lines = extend_range.run(options(first, pictures, second))
    assert [line.split()[:3] for line in lines] == [
        [state, "quality", str(quality)] for state in ("before", "after") for quality in (7, 8)
    ]
    assert lines[0].split()[3:] == lines[2].split()[3:] and lines[1] != lines[3]
    before, after = ModelFile.read(str(first)), ModelFile.read(str(second))
    for old, new in zip(before.weights["gains"], after.weights["gains"]):
        np.testing.assert_array_equal(new[:-1], old[:-1])
        np.testing.assert_allclose(new[-1], 1.5 * old[-1] - 0.5 * old[-2], rtol=1e-5, atol=1e-6)
    assert after.info["last_quality_moved_by"] == 0.5
    old, new = Codec.load(str(first)), Codec.load(str(second))
    for quality in (1, 3.5, 7):
        one, other = old.compress(sample_pixels, quality), new.compress(sample_pixels, quality)
        one, other = container.unpack(one), container.unpack(other)
        assert one.model_id == old.identity and other.model_id == new.identity
        assert (one.z_stream, one.y_stream) == (other.z_stream, other.y_stream)
    one, other = old.compress(sample_pixels, 8), new.compress(sample_pixels, 8)
    assert len(other) > len(one)
    assert new.decompress(other).shape == sample_pixels.shape


def test_fixed_rate_is_refused(pictures, tmp_path):
    path = tmp_path / "fixed.npz"
    export_model(build(ModelConfig(num_filters=8, entropy_widths=(24, 32))), path, {})
    with pytest.raises(ModelError, match="fixed.npz: has a fixed rate; give a model of variable"):
        extend_range.run(options(path, pictures, tmp_path / "out.npz"))
