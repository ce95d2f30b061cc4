"""Makes the golden files of `tests/data`: a tiny model, a file it wrote, and the latents in it.

    python -m experiments.tools.make_golden tests/data

Run once per format version. A decoder that cannot read the old files back to the same latents is
wrong, so never run this to make a test pass.
"""

import os
import sys

import numpy as np
import tensorflow as tf

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]


def main(folder):
    from test_exactness import HEIGHT, INDEX, WIDTH, golden_latents

    from gllmm_tf.codec.codec import Codec
    from gllmm_tf.config import ModelConfig
    from gllmm_tf.files import container
    from gllmm_tf.model.compression import build
    from gllmm_tf.zoo.model_file import export_model

    tf.keras.utils.set_random_seed(7)
    lambdas = tuple(0.001 * 1.8**i for i in range(8))
    model = build(ModelConfig(num_filters=8, entropy_widths=(24, 32), lambdas=lambdas))
    for variable in model.gains.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.3))
    path = os.path.join(folder, "golden_model.npz")
    export_model(model, path, {"name": "golden", "steps": 0})
    codec = Codec.load(path)
    y_hat, z_hat = golden_latents(codec)
    z_stream, y_stream = (s.numpy() for s in codec._encode(y_hat, z_hat, INDEX))
    parts = container.Container(
        model_id=codec.identity,
        width=16 * WIDTH,
        height=16 * HEIGHT,
        quality_index=INDEX,
        z_stream=z_stream,
        y_stream=y_stream,
        metadata={},
    )
    with open(os.path.join(folder, "golden.gllmm"), "wb") as f:
        f.write(container.pack(parts))
    np.savez_compressed(
        os.path.join(folder, "golden_latents.npz"),
        y_hat=y_hat.astype(np.int32),
        z_hat=z_hat.astype(np.int32),
    )


if __name__ == "__main__":
    main(sys.argv[1])
