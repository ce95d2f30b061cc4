"""Makes the golden files of `tests/data`: a tiny model, a file it wrote, and the latents in it.

    python -m experiments.tools.make_golden tests/data

Run once per format version. A decoder that cannot read the old files back to the same latents is
wrong, so never run this to make a test pass. Seconds.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
from absl import flags

from experiments.common import program
from gllmm_tf.coding.latent_coder import LatentCoder
from gllmm_tf.config import HYPER_STRIDE, LATENT_STRIDE, ModelConfig
from gllmm_tf.files import container
from gllmm_tf.model.compression import build
from gllmm_tf.zoo.model_file import ModelFile, export_model

CHANNELS = 8
HEIGHT, WIDTH = 8, 12  # of y
INDEX = 37  # quality 3.3125


def write_model(path: str) -> None:
    """Writes a tiny model of variable rate with random weights."""
    tf.keras.utils.set_random_seed(7)
    lambdas = tuple(0.001 * 1.8**i for i in range(8))
    model = build(ModelConfig(num_filters=CHANNELS, entropy_widths=(24, 32), lambdas=lambdas))
    for variable in model.gains.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.3))
    export_model(model, path, {"name": "golden", "steps": 0})


def golden_latents() -> tuple[np.ndarray, np.ndarray]:
    """Returns (y_hat [h, w, N], z_hat [h / 4, w / 4, N]): drawn, with far outliers and a dead channel."""
    rng = np.random.default_rng(11)
    spread = rng.choice([0.02, 0.3, 3.0, 40.0], CHANNELS)
    y_hat = np.round(rng.laplace(size=(HEIGHT, WIDTH, CHANNELS)) * spread)
    z_shape = (HEIGHT // HYPER_STRIDE, WIDTH // HYPER_STRIDE, CHANNELS)
    z_hat = np.round(rng.normal(size=z_shape) * 4)
    y_hat[3, 4, 0] = 70000  # beyond the clip of the context
    y_hat[..., 2] = 0
    y_hat[7, 11, 5], y_hat[0, 0, 1] = -123456, 2**20
    return y_hat, z_hat


def main(f: flags.FlagValues, folder: str) -> None:
    del f
    path = os.path.join(folder, "golden_model.npz")
    write_model(path)
    stored = ModelFile.read(path)
    y_hat, z_hat = golden_latents()
    streams = LatentCoder(stored).encode(y_hat, z_hat, INDEX)
    parts = container.Container(
        model_id=stored.identity,
        width=LATENT_STRIDE * WIDTH,
        height=LATENT_STRIDE * HEIGHT,
        quality_index=INDEX,
        z_stream=streams.z,
        y_stream=streams.y,
        metadata={},
    )
    with open(os.path.join(folder, "golden.gllmm"), "wb") as file:
        file.write(container.pack(parts))
    np.savez_compressed(
        os.path.join(folder, "golden_latents.npz"),
        y_hat=y_hat.astype(np.int32),
        z_hat=z_hat.astype(np.int32),
    )


if __name__ == "__main__":
    program.run(main, arguments=["FOLDER"])
