"""Compares our networks with golden vectors of the published ones.

    python -m experiments.inside.check_reference PREFIX

reads `PREFIX.json` (seed, num_filters, manifest of weights in the order of drawing) and `PREFIX.npz`
(the tensors that the original code computed with those weights), draws the weights, imports them
under their original names and prints the relative error `||a - b|| / ||b||` per tensor. With PREFIX
tests/data/reference/gllmm_n16 or cheng_n16 all errors are below 1e-5. Exit status 1
above 1e-5 (1e-4 for `x_hat`, which amplifies). Takes seconds.
"""

from __future__ import annotations

import json

import numpy as np
from absl import flags

from experiments.common import program
from experiments.common.program import LimitError

TOLERANCE = {"x_hat": 1e-4}
DEFAULT_TOLERANCE = 1e-5
# The vectors were recorded with these, to keep random networks in a useful range.
Z_GAIN = 20.0
Y_CLIP = 12.0


def draw_weights(seed, manifest):
    """`{name: float32 array}` of a manifest's list of `{name, shape, kind}`, drawn from `seed`."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for entry in manifest:
        shape = tuple(entry["shape"])
        if entry["kind"] == "kernel":
            array = 0.7 * rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
        elif entry["kind"] == "bias":
            array = 0.1 * rng.normal(size=shape)
        elif entry["kind"] == "beta":
            array = 1 + 0.5 * rng.uniform(size=shape)
        elif entry["kind"] == "gamma":
            array = 0.1 * np.eye(shape[0]) + 0.01 * rng.uniform(size=shape)
        else:
            raise ValueError(f"unknown kind of weight {entry['kind']!r} for {entry['name']}")
        arrays[entry["name"]] = array.astype(np.float32)
    return arrays


def published_model(manifest, num_filters):
    """The model of the system that a manifest of original names belongs to, with its variables."""
    from gllmm_tf import config
    from gllmm_tf.model.compression import build

    names = {entry["name"] for entry in manifest}
    is_gllmm = "analysis/Block_1_layer_2_1/kernel" in names
    return build((config.gllmm if is_gllmm else config.cheng2020)(num_filters))


def evaluate(model, image):
    """Every tensor that the golden vectors hold, computed by our networks. image: [1, H, W, 3]."""
    import tensorflow as tf

    from gllmm_tf.model.mixture import Mixture

    y = model.g_a(image)
    z = model.h_a(y)
    z_hat = tf.round(Z_GAIN * z)
    phi = model.h_s(z_hat)
    y_hat = tf.clip_by_value(tf.round(y), -Y_CLIP, Y_CLIP)
    families, components = model.config.families, model.config.components
    mixture = Mixture.from_parameters(model.entropy_parameters(y_hat, phi), families, components)

    def per_element(t):  # [..., F, K, N] -> [..., N, F K]
        shape = tf.concat([tf.shape(t)[:-3], [len(families) * components, t.shape[-1]]], 0)
        return tf.linalg.matrix_transpose(tf.reshape(t, shape))

    tensors = {
        "y": y,
        "z": z,
        "z_hat": z_hat,
        "phi": phi,
        "y_hat": y_hat,
        "x_hat": model.g_s(y_hat),
    }
    tensors["means"] = per_element(mixture.means)
    tensors["scales"] = per_element(mixture.scales)
    for f in range(len(families)):
        weights = mixture.component_weights[..., f, :, :]
        tensors[f"probs{f}"] = tf.linalg.matrix_transpose(weights)
    if len(families) > 1:
        tensors["probs3"] = tf.linalg.matrix_transpose(mixture.family_weights)
    return {name: np.asarray(t) for name, t in tensors.items()}


def relative_errors(prefix):
    """`{tensor: relative error}` for the vectors at `PREFIX.json` and `PREFIX.npz`."""
    from gllmm_tf.originals.names import load_original

    with open(f"{prefix}.json") as f:
        reference = json.load(f)
    golden = np.load(f"{prefix}.npz")
    model = published_model(reference["manifest"], reference["num_filters"])
    load_original(model, draw_weights(reference["seed"], reference["manifest"]))
    ours = evaluate(model, golden["image"])
    errors = {}
    for name in golden.files:
        if name == "image" or name == "likelihoods":
            continue
        a, b = ours[name].astype(np.float64), golden[name].astype(np.float64)
        if a.shape != b.shape:
            raise ValueError(f"{name} has shape {a.shape}, the golden vector {b.shape}")
        errors[name] = np.linalg.norm(a - b) / np.linalg.norm(b)
    return errors


def main(f: flags.FlagValues, prefix: str) -> None:
    del f
    bad = []
    for name, error in relative_errors(prefix).items():
        tolerance = TOLERANCE.get(name, DEFAULT_TOLERANCE)
        good = error <= tolerance  # NaN is not good
        bad += [] if good else [name]
        print(f"{name:8s} {error:9.2e}  {'ok' if good else f'ABOVE {tolerance:g}'}")
    if bad:
        raise LimitError(f"other tensors than the released code's: {', '.join(bad)}")


if __name__ == "__main__":
    program.run(main, arguments=["PREFIX"])
