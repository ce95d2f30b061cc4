"""Where TensorFlow's own state could reach a codec: Keras' policy, graphs, forks."""

import multiprocessing

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import tensorflow as tf  # noqa: E402

from gllmm_tf.codec.tensorflow_codec import TensorFlowCodec  # noqa: E402
from gllmm_tf.errors import GllmmError  # noqa: E402


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_keras_policy_changes_nothing(tiny_tensorflow_codec, sample_pixels, policy):
    pixels = sample_pixels[:64, :80]
    data = tiny_tensorflow_codec.compress(pixels)
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        codec = TensorFlowCodec(tiny_tensorflow_codec.model_file)
        assert codec.compress(pixels) == data
        np.testing.assert_array_equal(
            codec.decompress(data), tiny_tensorflow_codec.decompress(data)
        )
        assert tf.keras.mixed_precision.global_policy().name == policy
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def test_inside_a_graph(tiny_tensorflow_codec, sample_pixels):
    codec, pixels = tiny_tensorflow_codec, sample_pixels[:9, :9]
    data = codec.compress(pixels)
    for function, argument in ((codec.compress, pixels), (codec.decompress, data)):
        with pytest.raises(GllmmError, match="tf.numpy_function") as error:
            tf.function(function)(tf.constant(argument))
        assert "\n" not in str(error.value)

    def step(x):
        codec.compress(pixels)
        return x

    with pytest.raises(
        Exception, match="tf.numpy_function$"
    ):  # TensorFlow adds where it was called
        tf.function(step)(tf.constant(0))
    written = tf.function(lambda x: tf.numpy_function(codec.compress, [x], tf.string))
    assert written(tf.constant(pixels)).numpy() == data


def test_a_forked_child_does_not_hang(tiny_tensorflow_codec, sample_pixels):
    pixels, stored = sample_pixels[:9, :9], tiny_tensorflow_codec.model_file
    tiny_tensorflow_codec.compress(pixels)
    here, there = multiprocessing.get_context("fork").Pipe()

    def run():
        for make in (lambda: tiny_tensorflow_codec, lambda: TensorFlowCodec(stored)):
            try:
                there.send(len(make().compress(pixels)))
            except GllmmError as error:
                there.send(str(error))

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    try:
        for words in ("load a codec in each process", "TensorFlow was used before"):
            assert here.poll(60), "the child hangs"
            assert words in here.recv()
    finally:
        child.kill()
        child.join()
