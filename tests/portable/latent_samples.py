"""Drawn latents for tests: nothing but integers, with far outliers and empty channels."""

import numpy as np


def latents(config, shape, seed=5, spread=1.0):
    """(y_hat [h, w, N], z_hat [h / 4, w / 4, Z]) for shape (h, w)."""
    rng = np.random.default_rng(seed)
    n = config.num_filters
    scale = spread * rng.choice([0.02, 0.3, 3.0, 40.0], n)
    y_hat = np.round(rng.laplace(size=(*shape, n)) * scale)
    y_hat[..., rng.integers(0, n)] = 0
    far = rng.integers(0, y_hat.size, 4)
    y_hat.reshape(-1)[far] = np.round(rng.laplace(size=4) * [10, 1e3, 1e5, 2**22])
    y_hat.reshape(-1)[far[0]] = 2**24
    z_hat = np.round(rng.laplace(size=(shape[0] // 4, shape[1] // 4, config.z_filters)) * 4)
    z_hat.reshape(-1)[0] = -70000
    return y_hat, z_hat
