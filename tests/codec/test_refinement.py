"""Refined latents: a lower cost in real files, any block, decoders that notice nothing."""

import os

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from PIL import Image

from gllmm_tf import config, losses, metrics
from gllmm_tf.cli import main as cli
from gllmm_tf.cli.parser import EFFORTS, parse_args
from gllmm_tf.codec import descent, refinement
from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec
from gllmm_tf.coding.fixed_point import ACTIVATION_BITS
from gllmm_tf.errors import ModelError
from gllmm_tf.model.compression import build
from gllmm_tf.zoo import registry
from gllmm_tf.zoo.model_file import export_model

MODEL = "gllmm-n48"


@pytest.fixture(scope="module")
def codec():
    return TensorFlowCodec.load(MODEL)


@pytest.fixture(scope="module")
def photo():
    """uint8 [200, 264, 3]: not a multiple of 64."""
    with Image.open(os.path.join(ROOT, "assets", "friends.png")) as picture:
        return np.asarray(picture.convert("RGB"))[60:260, 300:564]


def cost(codec, photo, data, quality):
    """lambda D + R of a file, in bits per pixel."""
    mse = 255.0**2 / 10 ** (metrics.psnr(photo, codec.decompress(data)) / 10)
    multiplier = losses.lambda_of_quality(codec.config.lambdas, tf.constant([quality]))[0]
    return float(multiplier) * mse + 8 * len(data) / photo[..., 0].size


@pytest.mark.parametrize("quality", [1.0, 4.5, 8.0])
def test_files_cost_less(codec, photo, quality):
    plain, refined = (codec.encode(photo, quality, refine=rounds) for rounds in (0, 6))
    ratio = cost(codec, photo, refined.data, quality) / cost(codec, photo, plain.data, quality)
    assert ratio < 0.98
    decoded = codec.decode(refined.data)
    for ours, theirs in zip(refined.latents, decoded.latents):
        np.testing.assert_array_equal(ours, theirs)
    assert "refinement" in refined.seconds and "refinement" not in plain.seconds
    assert codec.compress(photo, quality, refine=6) == refined.data


@pytest.mark.parametrize("quality", [2.0, 7.0])
def test_bfloat16_gains_as_much(photo, quality):
    codec, costs = TensorFlowCodec.load(MODEL), []
    for fast in (False, True):
        codec.refiner = refinement.Refiner(codec.model_file, bfloat16=fast)
        costs.append(cost(codec, photo, codec.compress(photo, quality, refine=4), quality))
    assert costs[0] == pytest.approx(costs[1], rel=0.01)


def test_neighbours_that_do_not_pay_are_left():
    """Either neighbour costs a bit more: y moves only where the rest pulls harder."""
    pull = np.array([[[0.0, 0.9, -1.2, 1.2]]], np.float32)
    one = np.ones_like(pull)
    slopes = descent.Slopes(0.0, pull, one, -one)
    np.testing.assert_allclose(slopes.moves, [[[0.0, 0.0, -0.2, 0.2]]], atol=1e-6)


def test_slopes_are_those_of_the_cost(codec, photo):
    """What an integer costs by itself is its part of the cost that no other integer sees."""
    y_hat = np.round(np.random.default_rng(0).normal(size=(1, 12, 12, codec.config.num_filters)))
    y_hat = y_hat.astype(np.float32)
    phi = np.zeros((1, 12, 12, 2 * codec.config.num_filters), np.float32)
    x = tf.constant(photo[None, :192, :192] / np.float32(255))
    fixed = (phi, x, tf.ones([1, 192, 192, 1]), codec.networks.inverse_gain(16), tf.constant(0.0))
    cost_here, _, above, below = codec.refiner.slopes(y_hat, *fixed)
    for sign, slope in ((1, above), (-1, below)):
        moved = y_hat.copy()
        moved[0, -1, -1, 5] += sign  # the last position: it is nobody's context
        found = float(codec.refiner.cost(moved, *fixed)) - float(cost_here)
        assert found == pytest.approx(sign * float(slope[0, -1, -1, 5]), abs=0.02)


def test_blocks_gain_about_as_much(codec, photo, monkeypatch):
    plain = cost(codec, photo, codec.compress(photo, 4), 4.0)
    whole = cost(codec, photo, codec.compress(photo, 4, refine=6), 4.0)
    monkeypatch.setattr(refinement, "WHOLE", 0)
    monkeypatch.setattr(refinement, "BLOCK", 8)
    assert len(refinement.blocks((16, 20))) == 6
    blocks = cost(codec, photo, codec.compress(photo, 4, refine=6), 4.0)
    assert plain - blocks > 0.7 * (plain - whole) > 0


@pytest.mark.parametrize("block", [None, 2])
def test_z_takes_fewer_bits(codec, photo, monkeypatch, block):
    """Bits of both streams, for a y_hat that stays; in blocks much the same as whole."""
    if block:
        monkeypatch.setattr(refinement, "WHOLE", 0)
        monkeypatch.setattr(refinement, "HYPER_BLOCK", block)
    index = codec.quality_index(2)
    y, z = codec.networks.analyse(photo, index)
    assert len(refinement.hyper_blocks(z.shape[:2])) == (6 if block else 1)
    y_hat, plain = np.round(y), np.round(z)
    z_hat = codec.refiner.refine_hyper(y_hat, z, index, 4)
    assert z_hat.shape == z.shape and np.array_equal(z_hat, np.round(z_hat))
    sizes = [sum(map(len, codec.coder.encode(y_hat, a, index))) for a in (plain, z_hat)]
    assert sizes[1] < 0.99 * sizes[0]


def test_bits_of_z_and_y_are_those_of_the_file(codec, photo):
    index = codec.quality_index(3)
    latents = codec.encode(photo, 3).latents
    fixed = codec.refiner.hyper_gains(index)
    found, *_ = codec.refiner.hyper_slopes(latents.z_hat[None], latents.y_hat[None], *fixed)
    coded = 8 * sum(map(len, codec.coder.encode(*latents, index)))
    assert float(found) == pytest.approx(coded, rel=0.02)


@pytest.mark.parametrize("size", [(1, 1), (12, 12), (13, 12), (1, 63), (25, 33)])
def test_blocks_of_z_cover_all_once(size):
    covered = np.zeros(size, int)
    for rows, columns in refinement.hyper_blocks(size):
        covered[rows, columns] += 1
        spans = (rows, size[0]), (columns, size[1])
        seen = [refinement.window_of(*span, refinement.HYPER_SURROUNDINGS)[0] for span in spans]
        latents = [config.HYPER_STRIDE * (span.stop - span.start) for span in seen]
        assert np.prod(latents) <= refinement.WHOLE  # so that it takes no more memory than y's
    assert np.all(covered == 1)


def test_what_does_not_help_is_not_taken(codec, photo, monkeypatch):
    monkeypatch.setattr(descent, "FIRST_STEP", 50.0)
    assert codec.compress(photo, 4, refine=3) == codec.compress(photo, 4)


@pytest.mark.parametrize("size", [(4, 4), (48, 48), (49, 48), (4, 252), (100, 130), (32, 4000)])
def test_blocks_cover_all_once(size):
    covered = np.zeros(size, int)
    for rows, columns in refinement.blocks(size):
        covered[rows, columns] += 1
        whole = np.prod(size) <= refinement.WHOLE
        assert whole or max(covered[rows, columns].shape) <= refinement.BLOCK
    assert np.all(covered == 1)


def test_pixels_that_count():
    """Those of the block and a little more, none of the padding."""
    block, window = (slice(8, 12), slice(0, 3)), (slice(4, 12), slice(0, 8))
    weight = refinement.judged_pixels(block, window, (180, 500))
    assert weight.shape == (128, 128)
    rows, columns = np.flatnonzero(weight.any(1)), np.flatnonzero(weight.any(0))
    assert (rows[0], rows[-1]) == (16 * (8 - refinement.JUDGED - 4), 180 - 64 - 1)
    assert (columns[0], columns[-1]) == (0, 16 * (3 + refinement.JUDGED) - 1)


def test_progress(codec, photo):
    counts = {}

    class Bar:
        def __init__(self, total, desc):
            self.desc = desc
            counts[desc] = [0, total]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n=1):
            counts[self.desc][0] += n

    codec.encode(photo, 2, progress=Bar, refine=3)
    assert counts == {"refinement": [4, 4]}  # three of y, one of z


@pytest.fixture(scope="module")
def fixed_rate(tmp_path_factory):
    """A function of facts about training to the path of a small fixed-rate model for MS-SSIM."""
    tf.keras.utils.set_random_seed(2)
    model = build(config.ModelConfig(num_filters=8, entropy_widths=(24, 32), metric="ms-ssim"))

    def path(**info):
        file = tmp_path_factory.mktemp("models") / "fixed.npz"
        export_model(model, file, info)
        return str(file)

    return path


def test_ms_ssim(fixed_rate, photo, sample_pixels):
    codec = TensorFlowCodec.load(fixed_rate(lambdas=[200.0]))

    def similarity(data):
        return metrics.ms_ssim(photo, codec.decompress(data))

    plain, refined = (codec.compress(photo, refine=rounds) for rounds in (0, 4))
    assert 200 * (similarity(refined) - similarity(plain)) > (
        8 * (len(refined) - len(plain)) / photo[..., 0].size
    )
    # MS-SSIM does not exist for small pictures: their y stays, their z takes no more bits.
    plain, refined = (codec.encode(sample_pixels, refine=rounds) for rounds in (0, 2))
    np.testing.assert_array_equal(refined.latents.y_hat, plain.latents.y_hat)
    assert len(refined.data) <= len(plain.data)


def test_a_model_without_lambda(fixed_rate, photo, tmp_path, capsys, monkeypatch):
    path = fixed_rate()
    with pytest.raises(ModelError, match="does not say for which lambda"):
        TensorFlowCodec.load(path).compress(photo, refine=1)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("a.png")
    assert cli.main(parse_args(["gllmm", "compress", "--model", path, "--refine=1", "a.png"]))
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "a.png: " in error and "--refine" in error
    assert os.listdir() == ["a.png"]


def test_command_line(photo, codec, tmp_path, capsys):
    picture, data = str(tmp_path / "a.png"), tmp_path / "a.gllmm"
    Image.fromarray(photo).save(picture)
    line = ["gllmm", "compress", "--model", MODEL, "--refine", "2", picture, str(data)]
    assert cli.main(parse_args(line)) == 0
    assert data.read_bytes() == codec.compress(photo, refine=2)
    with pytest.raises(SystemExit):
        parse_args([*line[:4], "--refine", "-1", picture])
    assert "-1 is negative" in capsys.readouterr().err
    for effort, rounds in enumerate(EFFORTS):
        assert parse_args([*line[:4], "-e", str(effort), picture]).refine == rounds
    for wrong in (["--effort=6"], ["--effort=1", "--refine=3"], ["--metric=mse"]):
        with pytest.raises(SystemExit):
            parse_args([*line[:4], *wrong, picture])
    assert (
        parse_args(["gllmm", "compress", "--metric=ms-ssim", picture]).model
        == (registry.METRIC_MODELS["ms-ssim"])
    )


def test_float_networks_are_those_of_the_file(codec, photo):
    """The cost that is descended on is that of the file, but for what coding adds."""
    picture, index = photo[:192, :256], codec.quality_index(4)
    plain = codec.encode(picture, 4)
    y_hat, z_hat = plain.latents
    phi = codec.coder.phi(z_hat, index) * np.float32(2.0**-ACTIVATION_BITS)
    multiplier = losses.lambda_of_quality(codec.config.lambdas, tf.constant([4.0]))[0]
    x = tf.constant(picture[None] / np.float32(255))
    weight, gain = tf.ones([1, 192, 256, 1]), codec.networks.inverse_gain(index)
    found = codec.refiner.cost(y_hat[None], phi[None], x, weight, gain, multiplier)
    assert float(found) / picture[..., 0].size == pytest.approx(
        cost(codec, picture, plain.data, 4.0), rel=0.02
    )


def test_script_measures_real_files(tiny_tensorflow_codec, sample_pixels, tmp_path):
    from experiments.rate_distortion import refinement_rounds

    path = tmp_path / "picture.png"
    Image.fromarray(sample_pixels).save(path)
    rows = refinement_rounds.measure(tiny_tensorflow_codec, str(path), 3.0, [0, 2])
    for row, rounds in zip(rows, (0, 2)):
        data = tiny_tensorflow_codec.compress(sample_pixels, 3.0, refine=rounds)
        error = np.square(
            sample_pixels.astype(float) - tiny_tensorflow_codec.decompress(data)
        ).mean()
        bpp = 8 * len(data) / (96 * 144)
        assert (row["rounds"], row["bytes"]) == (rounds, len(data))
        np.testing.assert_allclose(
            row["cost"], tiny_tensorflow_codec.config.lambdas[2] * error + bpp, rtol=1e-5
        )
    assert rows[1]["cost"] < rows[0]["cost"]
