"""Every Keras layer and model of the package: configuration, saving and loading, same output.

The classes are found by importing all modules of the package, so a new one without a case fails.
"""

import importlib
import pkgutil

import numpy as np
import pytest
import tensorflow as tf

import gllmm_tf
from gllmm_tf import config, layers
from gllmm_tf.model import compression as model
from gllmm_tf.model import enhancement, transforms
from gllmm_tf.model.context import EntropyParameters
from gllmm_tf.model.gains import Gains
from gllmm_tf.model.prior import FactorizedBottleneck

LAMBDAS = (0.001, 0.004, 0.02)
SMALL = dict(num_filters=4, entropy_widths=(6, 8))
MAP = [(8, 8, 4)]

# (layer, shapes of its inputs without the batch)
CASES = [
    (layers.Conv2D(4, 3, 2, activation="leaky_relu"), [(8, 8, 3)]),
    (layers.Conv2D(4, 1, use_bias=False, activation="relu", gain=0.5), MAP),
    (layers.CausalConv2D(4), MAP),
    (layers.SubPixelConv2D(4), MAP),
    (layers.TransposedConv2D(4), MAP),
    (layers.GDN(), MAP),
    (layers.GDN(inverse=True), MAP),
    (layers.ResidualBlock(4), MAP),
    (layers.ConcatenatedResidualModule(4, 2), MAP),
    (layers.ConcatenatedResidualModule(4, 3), MAP),
    (layers.ResidualDownsampling(4, gain=0.5), [(8, 8, 3)]),
    (layers.ResidualUpsampling(4, gain=0.5), MAP),
    (layers.BottleneckResidualUnit(4), MAP),
    (layers.AttentionBlock(4), MAP),
    (layers.FirstChannels(layers.ResidualBlock(2), 2), MAP),
    (transforms.AnalysisTransform(4, stages=2), [(32, 32, 3)]),
    (transforms.AnalysisTransform(4, stages=1), [(32, 32, 3)]),
    (transforms.AnalysisTransform(4, deep_filters=2), [(32, 32, 3)]),
    (transforms.SynthesisTransform(4, stages=3), [(2, 2, 4)]),
    (transforms.SynthesisTransform(4, deep_filters=2), [(2, 2, 4)]),
    (transforms.HyperAnalysisTransform(4), MAP),
    (transforms.HyperSynthesisTransform(4), [(2, 2, 4)]),
    (transforms.HyperSynthesisTransform(4, outputs=12), [(2, 2, 4)]),
    (enhancement.LayerAnalysis(6), [(8, 8, 3)]),
    (enhancement.LayerSynthesis(6), [(4, 4, 6)]),
    (EntropyParameters(4, num_groups=9, widths=(8, 12)), [(8, 8, 4), (8, 8, 8)]),
    (FactorizedBottleneck(4), MAP),
    (FactorizedBottleneck(4, init_scale=5, num_filters=(3, 3, 3)), MAP),
    (Gains(LAMBDAS, 4), [()]),
    (Gains(LAMBDAS, 4, hyper_filters=2), [()]),
]
MODELS = [
    model.CompressionModel(config.gllmm(**SMALL, lambdas=LAMBDAS), name="variable_rate"),
    model.CompressionModel(config.cheng2020(**SMALL), rounding="noise", name="fixed_rate"),
]


def name_of(case):
    return case.name if isinstance(case, tf.keras.layers.Layer) else None


def package_classes():
    """Layers and models defined anywhere in gllmm_tf, but for what is only derived from.

    That is a class with subclasses that is not registered with Keras.
    """
    for module in pkgutil.walk_packages(gllmm_tf.__path__, "gllmm_tf."):
        if module.name.rpartition(".")[2] != "__main__":
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:  # an extra that is not installed
                if error.name.startswith("gllmm_tf"):
                    raise
    found, queue = set(), [tf.keras.layers.Layer]
    while queue:
        subclasses = queue.pop().__subclasses__()
        queue += subclasses
        found.update(c for c in subclasses if c.__module__.startswith("gllmm_tf."))
    bases = {c for c in found if c.__subclasses__() and not is_registered(c)}
    return found - bases


def is_registered(layer_class):
    return tf.keras.saving.get_registered_name(layer_class).startswith("gllmm_tf>")


def randomise(layer):
    """Moves every variable, so that a forgotten one is seen. GDN's must stay positive."""
    rng = np.random.default_rng(1)
    for variable in layer.variables:
        noise = rng.normal(size=variable.shape) * 0.1
        variable.assign_add(np.abs(noise) if "gdn" in variable.name else noise)


def random_inputs(shapes):
    """float32 [2, *shape] each; a lone number per picture is a quality."""
    rng = np.random.default_rng(0)
    return [
        tf.constant(
            rng.uniform(1, 3, 2) if shape == () else rng.normal(size=(2, *shape)), tf.float32
        )
        for shape in shapes
    ]


def assert_same(values, wanted):
    for value, other in zip(tf.nest.flatten(values), tf.nest.flatten(wanted), strict=True):
        assert np.all(np.isfinite(other))
        np.testing.assert_array_equal(value, other)


def test_every_class_has_a_case():
    assert package_classes() == {type(case) for case, _ in CASES} | {type(m) for m in MODELS}


@pytest.mark.parametrize("layer", [case for case, _ in CASES] + MODELS, ids=name_of)
def test_config_round_trip(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    plain = tf.keras.saving.serialize_keras_object(layer)
    assert plain["registered_name"].startswith("gllmm_tf>")
    loaded = tf.keras.saving.deserialize_keras_object(plain)
    assert type(loaded) is type(layer) and loaded.get_config() == layer.get_config()


@pytest.mark.parametrize("layer, shapes", CASES, ids=name_of)
def test_layers_load_as_saved(layer, shapes, tmp_path):
    inputs = [tf.keras.Input(shape) for shape in shapes]
    saved = tf.keras.Model(inputs, layer(*inputs))
    randomise(layer)
    values = random_inputs(shapes)
    wanted = saved(values)

    saved.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is type(layer)
    assert_same(loaded(values), wanted)

    saved.save_weights(tmp_path / "checkpoint")
    again = type(layer).from_config(layer.get_config())
    other = tf.keras.Model(inputs, again(*inputs))
    other.load_weights(tmp_path / "checkpoint").assert_consumed()
    assert_same(other(values), wanted)


@pytest.mark.parametrize("saved", MODELS, ids=name_of)
def test_models_load_as_saved(saved, tmp_path):
    saved.build_from_config({})
    randomise(saved)
    x = tf.random.stateless_uniform([2, 64, 64, 3], [1, 2])
    quality = tf.constant([1.0, 2.5]) if saved.gains is not None else None
    seed = tf.constant([3, 4])
    saved.save(tmp_path / "model.keras")
    saved.save_weights(tmp_path / "checkpoint")

    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    other = model.build(saved.config, saved.rounding)
    other.load_weights(tmp_path / "checkpoint").assert_existing_objects_matched()
    for training in (False, True):
        wanted = saved(x, quality, seed, training)
        assert_same(loaded(x, quality, seed, training), wanted)
        assert_same(other(x, quality, seed, training), wanted)
