"""Checkpoints of the originals, written here, against the golden vectors."""

import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from originals.written_checkpoints import (
    KINDS,
    LAST,
    MEDIANS,
    N,
    bin_probability,
    bottleneck,
    rdft_basis,
    run_script,
    stored_form,
    write_checkpoint,
)
from PIL import Image

from experiments.inside import check_reference
from gllmm_tf import config
from gllmm_tf.cli import main as cli
from gllmm_tf.cli.parser import parse_args
from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec
from gllmm_tf.coding.fixed_point import FixedPointNetworks
from gllmm_tf.errors import ModelError
from gllmm_tf.files import container
from gllmm_tf.model.compression import build
from gllmm_tf.originals.checkpoint import (
    gdn_value,
    import_checkpoint,
    irdft_matrix,
    kernel_from_rdft,
)
from gllmm_tf.originals.names import load_original, original_variables
from gllmm_tf.zoo.model_file import ModelFile


@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (3, 3), (4, 3), (5, 2), (2, 3, 4)])
def test_basis_is_that_of_version_1_2(shape):
    matrix = irdft_matrix(shape)
    np.testing.assert_allclose(matrix, rdft_basis(shape), atol=1e-12)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)


def test_first_coefficient_is_the_mean():
    coefficients = np.zeros((9, 2))
    coefficients[0] = 3.0, -6.0
    kernel = kernel_from_rdft(coefficients, (3, 3, 1, 2))
    np.testing.assert_allclose(kernel, np.broadcast_to([1.0, -2.0], (3, 3, 1, 2)), atol=1e-12)


def test_gdn_values_are_bounded_below():
    stored = np.array([-5.0, 0.0, 2.0**-18, 1.0])
    np.testing.assert_allclose(gdn_value(stored, 0), [0, 0, 0, 1 - 2.0**-36], atol=1e-15)
    np.testing.assert_allclose(gdn_value(stored, 1e-6)[:3], 1e-6, rtol=1e-9)


# -------------------------------------------------------------------------------------- importing


def test_golden_outputs(case, tmp_path):
    prefix = write_checkpoint(tmp_path / "model", stored_form(case.weights, np.zeros(N)))
    model, medians = import_checkpoint(prefix)
    assert (model.config.system, model.config.num_filters) == (case.system, N)
    np.testing.assert_array_equal(medians, 0)
    golden = np.load(f"{case.golden}.npz")
    ours = check_reference.evaluate(model, golden["image"])
    compared = set(golden.files) - {"image", "likelihoods"}
    assert {"y", "z", "phi", "means", "scales", "x_hat"} <= compared
    for name in compared:
        error = np.linalg.norm(ours[name] - golden[name]) / np.linalg.norm(golden[name])
        assert error <= check_reference.TOLERANCE.get(name, 1e-5), name


@pytest.mark.parametrize(
    "system, n",
    [(config.cheng2020, 128), pytest.param(config.gllmm, 192, marks=pytest.mark.slow)],
)
def test_published_sizes(system, n, tmp_path, sample_pixels):
    """Released checkpoints have N = 128 to 256; drawn weights of such sizes survive the way here."""
    original = build(system(n))
    manifest = [
        {"name": name, "shape": entry.variable.shape, "kind": KINDS[name.rpartition("/")[2]]}
        for name, entry in original_variables(original).items()
    ]
    weights = check_reference.draw_weights(n, manifest)
    load_original(original, weights)
    prefix = write_checkpoint(tmp_path / "model", stored_form(weights, np.zeros(n)))
    output = tmp_path / "out.npz"
    assert run_script(prefix, output) == 0
    restored, _ = import_checkpoint(prefix)
    assert restored.config == original.config
    picture = np.float32(sample_pixels[None, :64, :128]) / 255
    ours = check_reference.evaluate(restored, picture)
    for name, value in check_reference.evaluate(original, picture).items():
        error = np.linalg.norm(ours[name] - value)
        assert error <= check_reference.TOLERANCE.get(name, 1e-5) * np.linalg.norm(value), name

    codec = TensorFlowCodec.load(output)
    encoded = codec.encode(sample_pixels[:64, :128])
    y_hat, z_hat = codec.decode(encoded.data).latents
    np.testing.assert_array_equal(y_hat, encoded.latents[0])
    np.testing.assert_array_equal(z_hat, encoded.latents[1])


def test_medians(case, with_medians, imported):
    """The symbols of z and their probabilities are the original's, phi is beyond the border."""
    arrays = with_medians[1]
    model, medians = imported
    np.testing.assert_allclose(medians, MEDIANS, rtol=1e-6)
    original = check_reference.published_model(case.manifest, N)
    load_original(original, case.weights)
    whole = np.round(medians)

    y = 3 * np.random.default_rng(2).normal(size=(1, 64, 64, N)).astype(np.float32)
    z = original.h_a(y).numpy() * 1.0
    symbols = np.round(z - medians)
    clear = np.abs(z - medians - symbols) < 0.499  # not so near to a tie that rounding decides
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(np.round(model.h_a(y))[clear], (symbols + whole)[clear])

    steps = np.arange(-12.0, 13.0)
    theirs = bin_probability(bottleneck(arrays), medians[:, None] + steps)
    values = np.float32((whole[:, None] + steps).T)
    ours = model.z_bottleneck.prior.prob(values).numpy().T
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-7)

    symbols = np.random.default_rng(3).integers(-4, 5, size=(1, 12, 12, N))
    theirs = original.h_s(tf.cast(symbols + medians, tf.float32)).numpy()
    ours = model.h_s(tf.cast(symbols + whole, tf.float32)).numpy()
    difference = np.abs(ours - theirs) / np.std(theirs)
    assert difference[:, 10:-10, 10:-10].max() < 1e-5
    assert 1e-3 < difference.max() < 1  # at the border, where zero padding stands for z_hat


def test_frequencies_are_those_of_the_density(with_medians, imported):
    arrays = with_medians[1]
    model, medians = imported
    cdf, offset = model.z_bottleneck.tables()
    rows = np.split(cdf, np.flatnonzero(cdf < 0)[1:])  # each begins with the negated precision
    assert len(rows) == N
    for channel, row in enumerate(rows):
        frequency = np.diff(row[1:])[:-1] / 2.0**16  # without the escape
        rest = medians[channel] - np.round(medians[channel])
        values = offset[channel] + np.arange(len(frequency)) + rest
        one = {name: array[channel : channel + 1] for name, array in bottleneck(arrays).items()}
        np.testing.assert_allclose(
            frequency, bin_probability(one, values[None])[0], atol=4 * 2.0**-16
        )
        assert frequency.sum() > 0.98


@pytest.mark.parametrize("given", [".index", ".data-00000-of-00001", ".meta"])
def test_the_path_of_a_file_will_do(intact, given):
    assert import_checkpoint(intact + given).model.config.num_filters == N


def test_compresses(case, with_medians, imported, sample_pixels, tmp_path, capsys):
    prefix, _ = with_medians
    output = tmp_path / "out.npz"
    assert run_script(prefix, output, metric="ms-ssim") == 0
    assert f"{case.system}, N = {N}" in capsys.readouterr().out
    stored = ModelFile.read(output)
    assert stored.config.metric == "ms-ssim" and "model.ckpt-1500001" in stored.info["source"]

    codec = TensorFlowCodec.load(output)
    encoded = codec.encode(sample_pixels)
    decoded = codec.decode(encoded.data)
    for ours, theirs in zip(encoded.latents, decoded.latents):
        np.testing.assert_array_equal(ours, theirs)
    wanted = codec.reconstruct(encoded.latents, sample_pixels.shape[:2])
    np.testing.assert_array_equal(decoded.image, wanted)
    # The density of the checkpoint is what z is coded with.
    z_bits = float(tf.reduce_sum(imported.model.z_bottleneck(encoded.latents[1])))
    stream = 8 * len(container.unpack(encoded.data).z_stream)
    assert z_bits - 8 <= stream <= 1.02 * z_bits + 16


def test_command_line(intact, sample_pixels, tmp_path):
    model, picture, data, result = (
        str(tmp_path / name) for name in ("out.npz", "a.png", "a.gllmm", "b.png")
    )
    Image.fromarray(sample_pixels).save(picture)
    assert run_script(intact, model) == 0
    for command in (["compress", picture, data], ["decompress", data, result]):
        assert cli.main(parse_args(["gllmm", *command, "--model", model])) == 0
    assert np.asarray(Image.open(result)).shape == sample_pixels.shape


def test_exact_path_computes_the_imported_phi(imported):
    model, medians = imported
    stored = ModelFile.from_model(model, {})
    networks = FixedPointNetworks(stored.exact, N, model.config.num_groups)
    z_hat = np.random.default_rng(4).integers(-4, 5, size=(5, 6, N)) + np.round(medians)
    exact = networks.hyper_synthesis(tf.constant(z_hat, tf.float64), tf.constant(0)).numpy() / 2**8
    wanted = model.h_s(tf.cast(z_hat[None], tf.float32))[0].numpy()
    assert np.max(np.abs(exact - wanted)) < 8 * 2.0**-8  # five layers on a grid of 2^-8


# ------------------------------------------------------------------------------- what does not fit


def failure(capsys, *args):
    """The one line that the command prints for a checkpoint that it cannot import."""
    assert run_script(*args) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_names_what_does_not_fit(cheng, tmp_path, capsys):
    arrays = stored_form(cheng.weights, np.zeros(N))
    del arrays["analysis/Block_0_layer_2/signal_conv2d/kernel_rdft"]
    del arrays["entropy_bottleneck/quantiles"]
    arrays["surprise/bias"] = np.zeros(3, np.float32)
    arrays["synthesis/Block_0_shortcut/signal_conv2d_7/kernel"] = np.zeros(3, np.float32)
    arrays[LAST] = np.zeros(17, np.float32)
    kernel = "hyper_synthesis/layer_2/signal_conv2d/kernel_rdft"
    arrays[kernel] = arrays[kernel].reshape(3, 3, N, -1)
    prefix = write_checkpoint(tmp_path / "model", arrays)
    line = failure(capsys, prefix, tmp_path / "out.npz")
    for part in (
        f"{prefix}: does not fit cheng2020, N = 16: ",
        "missing analysis/Block_0_layer_2/signal_conv2d/kernel_rdft; ",
        "missing entropy_bottleneck/quantiles; ",
        "unknown surprise/bias; ",
        "unknown synthesis/Block_0_shortcut/signal_conv2d_7/kernel; ",
        f"{LAST} has shape (17,), wanted (16,)",
        f"{kernel} has shape (3, 3, 16, 24), wanted (9, 384)",
    ):
        assert part in line
    assert not (tmp_path / "out.npz").exists()


def test_many_problems_are_counted(cheng, tmp_path):
    arrays = {
        name: a for name, a in stored_form(cheng.weights, np.zeros(N)).items() if "NLAB" not in name
    }
    prefix = write_checkpoint(tmp_path / "model", arrays)
    with pytest.raises(ModelError, match=r"missing analysis/NLAB_0/.* and \d+ more$") as error:
        import_checkpoint(prefix)
    assert str(error.value).count("missing") == 8


def test_leftovers_can_be_ignored(cheng, tmp_path):
    arrays = stored_form(cheng.weights, np.zeros(N))
    arrays["train/learning_rate"] = np.float32(1e-4)
    prefix = write_checkpoint(tmp_path / "model", arrays)
    with pytest.raises(ModelError, match="unknown train/learning_rate"):
        import_checkpoint(prefix)
    assert import_checkpoint(prefix, ignore="^train/").model.config.system == "cheng2020"


def test_layers_without_names(cheng, tmp_path):
    """As in Cheng et al.'s training code: Keras counts all convolutions and all kinds of GDN."""
    named = stored_form(cheng.weights, np.zeros(N))
    scopes, arrays = {}, {}
    for name, value in named.items():
        for layer in ("signal_conv2d", "gdn"):
            match = re.search(rf"(.*/)i?{layer}(_\d)?/", name)
            if match:
                count = scopes.setdefault(layer, {}).setdefault(match.group(0), len(scopes[layer]))
                suffix = f"_{count}" if count else ""
                name = f"{match.group(1)}{layer}{suffix}/{name[match.end() :]}"
        arrays[name] = value
    assert any("/gdn_5/" in name for name in arrays) and not any("igdn" in name for name in arrays)
    model, _ = import_checkpoint(write_checkpoint(tmp_path / "model", arrays))
    for name, entry in original_variables(model).items():
        if not name.endswith(("beta", "gamma")):
            value = entry.convert(cheng.weights[name])
            np.testing.assert_allclose(entry.variable, value, atol=1e-6, err_msg=name)


def test_not_finite(cheng, tmp_path, capsys):
    arrays = stored_form(cheng.weights, np.zeros(N))
    arrays[LAST] = np.full(N, np.nan, np.float32)
    prefix = write_checkpoint(tmp_path / "model", arrays)
    assert f"{LAST} is not made of finite numbers" in failure(capsys, prefix, tmp_path / "out.npz")


def test_another_network(tmp_path, capsys):
    arrays = {"dense/kernel": np.zeros((3, 3), np.float32), "dense/bias": np.zeros(3, np.float32)}
    prefix = write_checkpoint(tmp_path / "model", arrays)
    line = failure(capsys, prefix, tmp_path / "out.npz")
    assert "none of its 2 variables, such as dense/bias, belongs" in line


@pytest.mark.parametrize(
    ("file", "left"),
    [
        (".index", None),
        (".index", 100),
        (".index", 0.99),
        (".data-00000-of-00001", None),
        (".data-00000-of-00001", 0),
        (".data-00000-of-00001", 0.99),
    ],
)
def test_truncated(intact, tmp_path, capsys, file, left):
    """A file of the checkpoint is missing (None), or cut to some bytes or to a part of its size."""
    prefix = _copy(intact, tmp_path)
    path = tmp_path / f"model{file}"
    data = path.read_bytes()
    if left is None:
        path.unlink()
    else:
        path.write_bytes(data[: int(left * len(data)) if 0 < left < 1 else left])
    line = failure(capsys, prefix, tmp_path / "out.npz")
    assert f"{prefix}: not a readable TensorFlow checkpoint" in line
    assert not (tmp_path / "out.npz").exists()


def test_damaged_data(intact, tmp_path, capsys):
    prefix = _copy(intact, tmp_path)
    path = tmp_path / "model.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "not a readable TensorFlow checkpoint" in failure(capsys, prefix, tmp_path / "out.npz")


def _copy(prefix, folder):
    """The prefix of a copy, in `folder`, of a checkpoint."""
    for file in (".index", ".data-00000-of-00001"):
        shutil.copy(prefix + file, folder)
    return str(folder / os.path.basename(prefix))


@pytest.mark.parametrize("name", ["nowhere", "picture.png", ""])
def test_not_a_checkpoint(tmp_path, capsys, name):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" + bytes(100))
    line = failure(capsys, tmp_path / name, tmp_path / "out.npz")
    assert "not a readable TensorFlow checkpoint" in line


def test_output_that_cannot_be_written(intact, tmp_path, capsys):
    line = failure(capsys, intact, tmp_path / "nowhere" / "out.npz")
    assert "nowhere" in line
