"""Files of models that ship: another scale of qualities, or the same model in fewer bytes."""

import types

import numpy as np
import pytest

from experiments.tools import ship_model
from gllmm_tf import Codec
from gllmm_tf.config import ModelConfig
from gllmm_tf.errors import ModelError
from gllmm_tf.model.compression import build
from gllmm_tf.zoo.model_file import ModelFile, export_model


def options(model, output, **others):
    plain = {"positions": [], "base": "", "train_glob": []}
    return types.SimpleNamespace(
        model=str(model),
        output=str(output),
        validation_images=1,
        validation_size=64,
        **{**plain, **others},
    )


def test_the_same_model_in_fewer_bytes(tiny_model_path, tmp_path, capsys):
    stored = ModelFile.read(tiny_model_path)
    ship_model.main(options(tiny_model_path, tmp_path / "out.npz"))
    assert capsys.readouterr().out == f"{tmp_path}/out.npz: model {stored.identity.hex()}\n"
    packed = ModelFile.read(tmp_path / "out.npz")
    assert packed.identity == stored.identity and packed.info == stored.info
    for name, array in stored.arrays().items():
        np.testing.assert_array_equal(packed.arrays()[name], array)


def test_positions_become_qualities(tiny_model_path, pictures, sample_pixels, tmp_path, capsys):
    """A quality of the new scale is the place on the old one, but for the rounding of tables."""
    flags = options(
        tiny_model_path, tmp_path / "out.npz", positions=["2.5", "4", "8"], train_glob=pictures
    )
    ship_model.main(flags)
    old, new = ModelFile.read(tiny_model_path), ModelFile.read(flags.output)
    assert new.config.num_qualities == 3 and new.identity != old.identity
    lambdas = np.array(old.config.lambdas)
    wanted = (lambdas[1] * lambdas[2]) ** 0.5, lambdas[3], lambdas[7]
    np.testing.assert_allclose(new.config.lambdas, wanted, rtol=1e-6)
    assert new.info["positions"] == [2.5, 4, 8] and new.info["lambdas"] == list(new.config.lambdas)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 4 and shown[0].startswith("quality 1 ")
    codecs = Codec.load(tiny_model_path), Codec.load(flags.output)
    for place, quality in ((2.5, 1), (4, 2), (8, 3)):
        files = [len(c.compress(sample_pixels, q)) for c, q in zip(codecs, (place, quality))]
        assert abs(files[1] / files[0] - 1) < 0.02


def test_a_fixed_rate_has_no_scale(tmp_path):
    path = tmp_path / "fixed.npz"
    export_model(build(ModelConfig(num_filters=8, entropy_widths=(24, 32))), path, {})
    with pytest.raises(ModelError, match="fixed.npz: has a fixed rate; give a model of variable"):
        ship_model.main(options(path, tmp_path / "out.npz", positions=["1", "2"]))


def test_only_a_released_model_is_a_base(tiny_model_path, tmp_path):
    """What rests on another model has to find it wherever it is read."""
    flags = options(tiny_model_path, tmp_path / "out.npz", base=str(tiny_model_path))
    with pytest.raises(ModelError, match="is not a released model, on which others may rest"):
        ship_model.main(flags)
    assert not (tmp_path / "out.npz").exists()
