"""The exact networks against integer_reference.py, which is int64 throughout."""

import integer_reference
import numpy as np
import pytest
from portable import latent_samples, random_models

from gllmm_tf.portable import fixed_point, integer_mixture, wavefront, workers
from gllmm_tf.portable.fixed_point import FixedPointNetworks

SHAPE, INDEX = (8, 12), 11


def networks_of(model):
    return FixedPointNetworks(model.exact, model.config.num_filters, model.config.num_groups)


@pytest.fixture(scope="module", params=list(random_models.CONFIGS))
def model(request):
    return random_models.model_file(request.param)


@pytest.fixture(scope="module")
def loud_model():
    """Kernels and biases at the ends of their ranges, negative shifts among them."""
    model = random_models.model_file("variable")
    rng = np.random.default_rng(1)
    for name, array in model.exact.items():
        if name.endswith("/kernel"):
            model.exact[name] = rng.choice([-32767, -1, 32767], array.shape).astype(np.int16)
        elif name.endswith("/bias"):
            model.exact[name] = rng.integers(-(2**45), 2**45, array.shape)
    model.exact["context/exponent"] = np.int32(5)
    model.exact["last/exponent"] = np.int32(2)
    return model


def check_phi(model):
    _, z_hat = latent_samples.latents(model.config, SHAPE)
    phi = networks_of(model).hyper_synthesis(z_hat, INDEX)
    wanted = integer_reference.IntegerNetworks(model.exact).hyper_synthesis(z_hat, INDEX)
    assert phi.dtype == np.float32
    np.testing.assert_array_equal(phi, wanted)
    return phi, wanted


def check_masses(model):
    """Masses around every symbol, and the centres, of all positions."""
    y_hat, _ = latent_samples.latents(model.config, SHAPE)
    phi, exact_phi = check_phi(model)
    n = model.config.num_filters
    latent = wavefront.Latent(networks_of(model), model.config, phi, np.arange(n))
    positions = np.arange(y_hat[..., 0].size)
    cells = latent.cells(y_hat)
    mixture = latent.mixture(cells, latent.places(positions), latent.of_phi(positions))
    y = y_hat.reshape(-1)
    edges = np.stack([mixture.below(y - 0.5), mixture.below(y + 0.5)], 1).reshape(-1, n, 2)
    reference = integer_reference.IntegerNetworks(model.exact)
    layout = model.config.families, model.config.components
    for position in positions:
        row, column = divmod(int(position), SHAPE[1])
        parameters = reference.parameters(y_hat, exact_phi, row, column).reshape(-1, n)
        parts = integer_reference.mixture(parameters, *layout)
        np.testing.assert_array_equal(
            parts[0].sum(-1) << 32, mixture.total.reshape(-1, n)[position]
        )
        for side, offset in enumerate((-1, 1)):
            twice = 2 * y_hat[row, column].astype(np.int64) + offset
            masses = integer_reference.below(parts, *layout, twice)
            np.testing.assert_array_equal(masses, edges[position, :, side])


def test_hyper_synthesis(model):
    check_phi(model)


def test_masses(model):
    check_masses(model)


def test_the_largest_kernels_and_biases(loud_model):
    check_masses(loud_model)


def test_everything_is_an_integer_below_2_53(model):
    y_hat, z_hat = latent_samples.latents(model.config, SHAPE)
    latent = wavefront.Latent(
        networks_of(model),
        model.config,
        networks_of(model).hyper_synthesis(z_hat, INDEX),
        np.arange(model.config.num_filters),
    )
    positions = np.arange(96)
    mixture = latent.mixture(
        latent.cells(y_hat), latent.places(positions), latent.of_phi(positions)
    )
    for values in (mixture.weights, mixture.means, mixture.scales, mixture.total):
        assert np.all(values == np.round(values)) and np.max(np.abs(values)) < 2**53
    everything = mixture.below(np.full(mixture.total.shape, 1e6 + 0.5))
    assert np.all(everything <= mixture.total) and everything.min() > 0


def test_bands_change_nothing(model, monkeypatch):
    _, z_hat = latent_samples.latents(model.config, (24, 8))
    wanted = networks_of(model).hyper_synthesis(z_hat, INDEX)
    monkeypatch.setattr(fixed_point, "BAND_POSITIONS", 20)
    np.testing.assert_array_equal(networks_of(model).hyper_synthesis(z_hat, INDEX), wanted)


def test_sharing_out_changes_nothing(model, monkeypatch):
    y_hat, z_hat = latent_samples.latents(model.config, SHAPE)
    phi = networks_of(model).hyper_synthesis(z_hat, INDEX)
    positions = np.arange(96)

    def parts():
        channels = np.arange(1, model.config.num_filters)
        latent = wavefront.Latent(networks_of(model), model.config, phi, channels)
        cells = latent.cells(y_hat)
        mixture = latent.mixture(cells, latent.places(positions), latent.of_phi(positions))
        return np.stack([mixture.weights, mixture.means, mixture.scales])

    wanted = parts()
    monkeypatch.setattr(fixed_point, "SHARED_PRODUCTS", 0)
    for count in (1, 2, 3, 7):
        monkeypatch.setattr(workers, "count", lambda count=count: count)
        np.testing.assert_array_equal(parts(), wanted)


def test_no_step_reads_what_is_not_decoded_yet(model):
    """What a decoder has not reached is still 0 and must not matter."""
    y_hat, z_hat = latent_samples.latents(model.config, SHAPE)
    phi = networks_of(model).hyper_synthesis(z_hat, INDEX)
    channels = np.arange(model.config.num_filters)
    latent = wavefront.Latent(networks_of(model), model.config, phi, channels)
    order = wavefront.StepOrder(*SHAPE)
    assert len(order) == wavefront.num_steps(*SHAPE) == 33
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for t in (0, 5, 20, 32):
        known = np.where((columns + 3 * rows < t)[..., None], y_hat, 0)
        positions = order.positions[order.starts[t] : order.starts[t + 1]]
        assert np.all((columns + 3 * rows).reshape(-1)[positions] == t)
        masses = []
        for y in (y_hat, known):
            mixture = latent.mixture(
                latent.cells(y), latent.places(positions), latent.of_phi(positions)
            )
            masses.append(mixture.below(np.full(mixture.total.shape, 0.5)))
        np.testing.assert_array_equal(*masses)


def test_softmax_of_equal_logits():
    weights = integer_mixture.softmax(np.full([1, 3, 2], 5.0 * 4096))
    np.testing.assert_array_equal(weights, np.full([1, 3, 2], 21845.0))
