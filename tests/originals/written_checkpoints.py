"""Checkpoints with the originals' names and formats, written here."""

import json
import os
from types import SimpleNamespace

import numpy as np
import scipy.fftpack
import tensorflow as tf
from conftest import DATA

from experiments.common import program
from experiments.inside import check_reference
from experiments.tools import import_checkpoint as script

N = 16
KINDS = {k: k for k in ("kernel", "bias", "beta", "gamma")} | dict(weights="kernel", biases="bias")
LAST = "hyper_analysis/layer_4/signal_conv2d/bias"


# ------------------------------------------------------------------------- writing checkpoints


def rdft_basis(shape):
    """The basis of tensorflow-compression 1.2 from SciPy: real Fourier transform of unit impulses."""
    basis = np.eye(np.prod(shape)).reshape(-1, *shape)
    for axis in range(len(shape)):
        basis = scipy.fftpack.rfft(basis, axis=axis + 1)
    basis = basis.reshape(np.prod(shape), -1)
    return basis / np.linalg.norm(basis, axis=0)


def stored_form(weights, medians, seed=5):
    """`{name in a TensorFlow 1 checkpoint: array}` for `{original name: weights}`."""
    stored = {}
    for name, value in weights.items():
        scope, _, kind = name.rpartition("/")
        if kind in ("weights", "biases"):
            stored[name] = value
        elif kind in ("beta", "gamma"):
            scope, _, layer = scope.rpartition("/")
            root = np.sqrt(value.astype(np.float64) + 2.0**-36)
            stored[f"{scope}/signal_conv2d/{layer}/reparam_{kind}"] = root
        else:
            # The originals leave these layers without a name, so Keras counts them.
            counted = {"entropy_parameter/layer_1": "_1", "entropy_parameter/layer_2": "_2"}
            scope += "/signal_conv2d" + counted.get(scope, "")
            if kind == "kernel" and value.shape[:2] != (1, 1):
                flat = value.astype(np.float64).reshape(-1, value.shape[2] * value.shape[3])
                stored[f"{scope}/kernel_rdft"] = rdft_basis(value.shape[:2]).T @ flat
            else:
                stored[f"{scope}/{kind}"] = value
    stored.update({f"entropy_bottleneck/{k}": v for k, v in density(medians, seed).items()})
    return {name: np.asarray(value, np.float32) for name, value in stored.items()}


def density(medians, seed):
    """Variables of tensorflow-compression 1.2's EntropyBottleneck: random, with given medians."""
    rng = np.random.default_rng(seed)
    n, widths = len(medians), (1, 3, 3, 3, 1)
    arrays = {}
    for i, (before, after) in enumerate(zip(widths, widths[1:])):
        start = np.log(np.expm1(1 / 10**0.25 / after))
        arrays[f"matrix_{i}"] = start + 0.3 * rng.normal(size=(n, after, before))
        arrays[f"bias_{i}"] = rng.uniform(-0.5, 0.5, size=(n, after, 1))
        if i < 3:
            arrays[f"factor_{i}"] = 0.5 * rng.normal(size=(n, after, 1))
    middle = np.asarray(medians).reshape(-1, 1, 1)
    arrays["quantiles"] = middle + np.array([-30.0, 0.0, 30.0])
    return arrays


def bin_probability(arrays, values):
    """P(v - 1/2 < Z <= v + 1/2) by the formula of version 1.2, float64. values: [N, any]."""

    def logit(x):
        x = np.asarray(x, np.float64)[:, None]
        for i in range(4):
            x = np.logaddexp(0, arrays[f"matrix_{i}"]) @ x + arrays[f"bias_{i}"]
            if i < 3:
                x = x + np.tanh(arrays[f"factor_{i}"]) * np.tanh(x)
        return x[:, 0]

    def cdf(x):
        return 1 / (1 + np.exp(-logit(x)))

    return cdf(values + 0.5) - cdf(values - 0.5)


def bottleneck(arrays):
    """The density's variables among a checkpoint's, under their last names."""
    scope = "entropy_bottleneck/"
    return {name[len(scope) :]: a for name, a in arrays.items() if name.startswith(scope)}


def write_checkpoint(prefix, arrays):
    """What `tf.train.Saver` of TensorFlow 1 writes for a graph with these variables."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [
            v1.Variable(value, name=name, use_resource=False) for name, value in arrays.items()
        ]
        assert [v.op.name for v in variables] == list(arrays)
        session.run(v1.global_variables_initializer())
        v1.train.Saver(variables).save(session, str(prefix), write_meta_graph=False)
    return str(prefix)


def leftovers():
    """What training and the bottleneck leave in a checkpoint beside the weights."""
    bias = np.zeros(N, np.float32)
    return {
        "global_step": np.int64(1500001),
        "beta1_power": np.float32(0.1),
        "beta2_power_1": np.float32(0.1),
        f"{LAST}/Adam": bias,
        f"{LAST}/Adam_1": bias,
        "entropy_bottleneck/quantized_cdf": np.zeros((N, 5), np.int32),
        "entropy_bottleneck/cdf_length": np.zeros(N, np.int32),
    }


MEDIANS = np.linspace(-3.3, 3.4, N)


class Case:
    def __init__(self, name):
        self.golden = os.path.join(DATA, "reference", name)
        with open(f"{self.golden}.json") as f:
            reference = json.load(f)
        self.system = "gllmm" if name.startswith("gllmm") else "cheng2020"
        self.weights = check_reference.draw_weights(reference["seed"], reference["manifest"])
        self.manifest = reference["manifest"]


def run_script(checkpoint, output, metric="mse"):
    """Exit status of import_checkpoint.py."""
    options = SimpleNamespace(ignore=None, metric=metric)
    return program.status_of(lambda: script.main(options, str(checkpoint), str(output)))
