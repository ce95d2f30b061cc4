"""`compile`, `fit` and `evaluate` for the trainable model, for notebooks and first experiments.

    model.compile(tf.keras.optimizers.Adam(1e-4, global_clipnorm=1.0))
    model.fit(crops)     # tf.data set of [B, H, W, 3], uint8 or float in 0..1, H and W multiples of 64

A step minimises the mean over the batch of `losses.rate_distortion_loss`, like a step of
`gllmm_tf.training`, which is the reference and has what a long run needs: Muon, a schedule, averaged
weights, checkpoints, files as validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from gllmm_tf import losses, metrics
from gllmm_tf.config import IMAGE_MULTIPLE
from gllmm_tf.errors import ModelError

if TYPE_CHECKING:
    from tensorflow.keras import Model as _Base
else:  # a mixin: Keras would take a subclass of its Model for a model
    _Base = object


class Fitting(_Base):
    """Keras' training methods; for a class with `config` and a forward pass as `CompressionModel` has.

    The meters, mean per image over an epoch: loss (lambda D + R), bpp, psnr (dB), and ms_ssim for a
    model of that metric.
    """

    def compile(
        self,
        optimizer: tf.keras.optimizers.Optimizer | str = "adam",
        lambdas: float | Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        """Prepares `fit` and `evaluate`.

        Args:
            optimizer: A Keras optimizer, or its name.
            lambdas: lambda of a fixed-rate model (about 0.0016 to 0.05 for MSE). A variable-rate
                model has its own, one for each quality.
            **options: Further arguments of `tf.keras.Model.compile`, but no loss and no metrics.

        Raises:
            ModelError: lambdas that do not go with the model, a loss or metrics.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if options.get(name) is not None:
                raise ModelError(f"loss and metrics belong to the model; omit {name}", name)
        self._lambdas = _lambdas(self.config.lambdas, lambdas)
        names = ["loss", "bpp", "psnr"] + ["ms_ssim"] * (self.config.metric == "ms-ssim")
        self._meters = _Meters([tf.keras.metrics.Mean(name=name) for name in names])
        super().compile(optimizer=optimizer, **options)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> tf.keras.callbacks.History:
        """`tf.keras.Model.fit`, for batches of pictures; see the module.

        Raises:
            ModelError: batches of another shape or type.
        """
        _check_batches(x, self.config.metric)
        return super().fit(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`tf.keras.Model.evaluate`, for batches of pictures; raises as `fit` does."""
        _check_batches(x, self.config.metric)
        return super().evaluate(x, *args, **kwargs)

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `model.save` keeps of `compile`; None before it."""
        if self.optimizer is None:
            return None
        optimizer = tf.keras.saving.serialize_keras_object(self.optimizer)
        return {
            "optimizer": optimizer,
            "lambdas": None if self.config.lambdas else self._lambdas[0],
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as it was when it was saved."""
        optimizer = tf.keras.saving.deserialize_keras_object(config["optimizer"])
        self.compile(optimizer, config["lambdas"])
        optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """The meters, which Keras sets back at the start of an epoch."""
        return self._meters.means if hasattr(self, "_meters") else []

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step on a batch, each picture at a quality drawn for it."""
        x = _unit_range(data)
        quality = self._draw_qualities(tf.shape(x)[0])
        with tf.GradientTape() as tape:
            terms, lambdas = self._terms(x, quality, training=True)
            loss = tf.reduce_mean(terms.loss * losses.balance(lambdas, self._lambdas))
            # Gradients of replicas are added.
            loss /= tf.distribute.get_strategy().num_replicas_in_sync
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return self._record(terms)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Rounded latents and clipped pixels; the mean over the integer qualities."""
        x = _unit_range(data)

        def at(quality):
            return self._terms(x, tf.fill(tf.shape(x)[:1], quality), training=False)[0]

        if not self.config.lambdas:
            return self._record(at(1.0))
        count = len(self.config.lambdas)
        signature = losses.Losses(*len(losses.Losses._fields) * [tf.float32])
        # One after the other: TensorFlow 2.14's oneDNN kernels fail when iterations share them.
        qualities = tf.range(1.0, count + 1.0)
        each = tf.map_fn(at, qualities, parallel_iterations=1, fn_output_signature=signature)
        return self._record(losses.Losses(*(tf.reshape(term, [-1]) for term in each)))  # [Q B]

    def _terms(self, x, quality, training):
        """Returns (the `Losses` of a batch, lambda of each image)."""
        outputs = self(x, quality if self.config.lambdas else None, training=training)
        if not training:
            outputs = outputs._replace(x_hat=tf.clip_by_value(outputs.x_hat, 0.0, 1.0))
        lambdas = losses.lambda_of_quality(self._lambdas, quality)
        return losses.rate_distortion_loss(x, outputs, lambdas, self.config.metric), lambdas

    def _draw_qualities(self, batch):
        """float32 [batch] in 1..Q, half of them integers."""
        count = float(len(self._lambdas))
        real = tf.random.uniform([batch], 1.0, count)
        whole = tf.floor(tf.random.uniform([batch], 1.0, count + 1.0))
        return tf.where(tf.random.uniform([batch]) < 0.5, real, tf.minimum(whole, count))

    def _record(self, terms):
        """Adds a batch to the meters; returns {name: mean so far}."""
        values = {
            "loss": terms.loss,
            "bpp": terms.bpp,
            "psnr": losses.psnr(terms.mse),
            "ms_ssim": terms.ms_ssim,
        }
        for meter in self.metrics:
            meter.update_state(values[meter.name])
        return {meter.name: meter.result() for meter in self.metrics}


class _Meters:
    """Holds Keras metrics where Keras does not find them: they are no part of the saved model."""

    def __init__(self, means):
        self.means = means


def _lambdas(own, given):
    """The lambdas of a model with `own` ones in its configuration, a tuple of floats."""
    if own:
        if given is not None:
            raise ModelError("a variable-rate model has lambdas of its own; omit them", "lambdas")
        return tuple(own)
    if given is None:
        raise ModelError("a fixed-rate model needs a lambda, such as lambdas=0.0075", "lambdas")
    values = tuple(float(value) for value in tf.nest.flatten(given))
    if len(values) != 1 or not values[0] > 0:
        raise ModelError(
            f"lambdas is {given!r}, it must be one positive number for a fixed-rate model",
            "lambdas",
        )
    return values


def _check_batches(x, metric):
    """Raises ModelError unless a data set or an array has batches that the model takes.

    Before anything is traced: an error inside a graph comes with pages around it. What has no shape
    yet, such as a generator, passes.
    """
    spec = tf.keras.utils.unpack_x_y_sample_weight(getattr(x, "element_spec", x))[0]
    if not (hasattr(spec, "shape") and hasattr(spec, "dtype")):
        return
    shape, dtype = tf.TensorShape(spec.shape), tf.as_dtype(spec.dtype)
    if shape.rank not in (4, None) or (shape.rank and shape[3] not in (3, None)):
        raise ModelError(f"a batch is pictures [batch, height, width, 3], not {shape}", "x")
    if dtype != tf.uint8 and not dtype.is_floating:
        raise ModelError(f"pictures are uint8, or floats in 0..1, not {dtype.name}", "x")
    for name, side in zip(("height", "width"), shape[1:3] if shape.rank else ()):
        if side is not None:
            if side % IMAGE_MULTIPLE:
                raise ModelError(
                    f"crops have a {name} of {side}, it must be a multiple of {IMAGE_MULTIPLE}", "x"
                )
            metrics.check_patch(metric, side, name)


def _unit_range(data):
    """The pictures of a batch of `fit`, float32 [B, H, W, 3] in 0..1."""
    x = tf.keras.utils.unpack_x_y_sample_weight(data)[0]
    if x.dtype == tf.uint8:
        return tf.cast(x, tf.float32) / 255.0
    x = tf.cast(x, tf.float32)
    message = "pictures of floats have values in 0..1; give uint8, or divide by 255"
    with tf.control_dependencies([tf.debugging.assert_less_equal(x, 1.001, message)]):
        return tf.identity(x)
