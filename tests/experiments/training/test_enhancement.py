"""Training of an enhancement layer, on a tiny model and drawn pictures."""

import types

import numpy as np
import pytest
from PIL import Image

from experiments.training import enhancement
from gllmm_tf import Codec, metrics
from gllmm_tf.errors import ModelError
from gllmm_tf.zoo.model_file import ModelFile


@pytest.fixture
def options(tiny_model_path, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        slope = np.add.outer(np.arange(96), np.arange(80))[..., None] + 40 * rng.normal(size=3)
        noisy = np.clip(slope + 8 * rng.normal(size=(96, 80, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"{i}.png")
    return types.SimpleNamespace(
        base=str(tiny_model_path),
        quality=4.0,
        train_glob=[str(tmp_path / "*.png")],
        validation_images=1,
        validation_size=64,
        step_sizes=["32", "8"],
        first_quality=5,
        families=["logistic"],
        components=2,
        entropy_widths=["12", "10"],
        crops=2,
        patch=64,
        batch=2,
        steps=30,
        learning_rate=2e-3,
        optimizer="muon",
        dead_zone=0.15,
        seed=1,
        precision="float32",
        hardware="a test",
        output=str(tmp_path / "layer.npz"),
    )


def test_a_layer_learns_and_codes(options, tiny_model_path, capsys, monkeypatch):
    losses = []
    monkeypatch.setattr(enhancement, "SYNTHESIS_EVERY", 1000)
    learn = enhancement.Trainer

    class Watched(learn):
        def __init__(self, *args):
            super().__init__(*args)
            one = self.learn_entropy
            self.learn_entropy = lambda *batch: losses.append(float(one(*batch))) or losses[-1]

    monkeypatch.setattr(enhancement, "Trainer", Watched)
    enhancement.main(options)
    assert len(losses) == 30 and np.mean(losses[-5:]) < np.mean(losses[:5])
    shown = capsys.readouterr().out
    assert "quality 5 " in shown and "quality 6 " in shown
    stored, base = ModelFile.read(options.output), ModelFile.read(tiny_model_path)
    assert stored.config.base == base.identity.hex() and stored.config.base_index == 48
    assert stored.info["hardware"] == "a test" and stored.info["pixels_seen"] == 30 * 2 * 64**2
    assert stored.info["started_from"]["identity"] == base.identity.hex()
    codec = Codec.of(stored, base=Codec.of(base))
    picture = np.asarray(Image.open(options.train_glob[0].replace("*", "0")))
    files = [codec.compress(picture, quality) for quality in (5, 6)]
    psnr = [metrics.psnr(picture, codec.decompress(file)) for file in files]
    assert len(files[0]) < len(files[1]) and psnr[0] < psnr[1]
    # Uniform noise of a step of 8 / 255 has 40.9 dB; the dead zone costs something.
    assert psnr[1] == pytest.approx(10 * np.log10(12 * 255**2 / 64), abs=2)
    row = stored.info["validation"]["qualities"][1]
    assert row["quality"] == 6 and row["psnr"] == pytest.approx(psnr[1], abs=1.5)


def test_what_can_have_no_layer(options):
    enhancement.main(types.SimpleNamespace(**{**vars(options), "steps": 1}))
    options.base = options.output
    with pytest.raises(ModelError, match="a layer needs a model of variable rate"):
        enhancement.main(options)
