"""Model, optimizer, weight average and the compiled step of training."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import tensorflow as tf

from gllmm_tf import losses
from gllmm_tf.errors import GllmmError
from gllmm_tf.layers.precision import in_policy
from gllmm_tf.model import compression
from gllmm_tf.training import distribution, growth, optimizers
from gllmm_tf.training.judge import Judge, losses_of
from gllmm_tf.training.meter import METRICS
from gllmm_tf.training.settings import PRECISIONS, Settings
from gllmm_tf.zoo import registry


class WeightAverage:
    """Exponential moving average of variables.

    `a <- a + (1 - d_t)(v - a)`, `d_t = min(decay, (1 + t) / (10 + t))`, t = 1, 2, .. The decay
    starts low, so that the random initial weights are soon forgotten.
    """

    def __init__(self, variables, decay):
        self.averages = [tf.Variable(v.read_value(), trainable=False) for v in variables]
        self._decay = decay
        self._sources = list(variables)

    def update(self, step):
        """Takes the current values in; `step` is the integer tensor t, 1 at first."""
        t = tf.cast(step, tf.float32)
        weight = 1.0 - tf.minimum(self._decay, (1.0 + t) / (10.0 + t))
        for average, source in zip(self.averages, self._sources):
            average.assign_add(weight * (source.read_value() - average))

    @contextlib.contextmanager
    def applied(self):
        """Puts the averages into the variables for the length of a with-block."""
        live = [v.numpy() for v in self._sources]
        for average, source in zip(self.averages, self._sources):
            source.assign(average.numpy())
        try:
            yield
        finally:
            for value, source in zip(live, self._sources):
                source.assign(value)


class Learner:
    """Model, optimizer, average and the compiled step: what a checkpoint holds.

    Args:
        settings: Settings.
        devices: distribution.Devices that share a step; None for one.
        start: The `start` of a learner before, where a run goes on; None reads `init_from`.

    Attributes:
        model: the CompressionModel.
        train_step: the compiled step, see `_train_step`; of all replicas together.
        step: tf.Variable, number of steps done, skipped ones included.
        skipped: tf.Variable, number of steps whose update was left out as not finite.
        pixels: tf.Variable, number of pixels seen.
        seconds: tf.Variable, time spent in training.
        start: What stays true of the model that `init_from` names, JSON: {"started_from": facts or
            None, "held_back": channels whose rate is held back, or None}.
    """

    def __init__(self, settings: Settings, devices=None, start: dict | None = None):
        self.settings = settings
        self.start = start or {"started_from": None, "held_back": None}
        self._is_new = start is None
        self.config = settings.model.config()
        self.devices = devices or distribution.Devices()
        share = self.devices.share(settings.data.batch)
        with self.devices.strategy.scope():
            self._make_variables()
        shape = (share, settings.data.patch, settings.data.patch, 3)
        signature = [
            tf.TensorSpec(shape, tf.uint8),
            tf.TensorSpec((share,), tf.float32),
            tf.TensorSpec((2,), tf.int32),
            tf.TensorSpec((), tf.float32),
        ]
        self.train_step = self.devices.compile(self._train_step, signature, settings.run.jit)
        self.judge = Judge(self.model, settings.model.lambdas, settings.model.metric)

    def _make_variables(self):
        settings = self.settings
        tf.keras.utils.set_random_seed(settings.run.seed)
        with in_policy(PRECISIONS[settings.run.precision]):
            self.model = compression.build(self.config, settings.model.rounding)
        if settings.model.init_from and self._is_new:
            self.start = self._grow_from(registry.read_model(settings.model.init_from))
        self.variables = self.model.trainable_variables
        self.optimizer = self._make_optimizer()
        self.optimizer.build(self.variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.skipped = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.pixels = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.average = (
            WeightAverage(self.variables, settings.optimizer.ema)
            if settings.optimizer.ema
            else None
        )
        self.checkpoint = tf.train.Checkpoint(
            model=self.model,
            optimizer=self.optimizer,
            step=self.step,
            skipped=self.skipped,
            pixels=self.pixels,
            seconds=self.seconds,
            average=self.average.averages if self.average else [],
        )

    def _grow_from(self, stored):
        """Takes over the weights of a model file; returns what has to be known of it later."""
        growth.grow(self.model, compression.CompressionModel.load(stored))
        names = ("steps", "pixels_seen", "started_from")
        facts = {name: stored.info.get(name) for name in names}
        held_back = None
        if stored.info.get("revived"):
            new = range(stored.config.num_filters, self.config.num_filters)
            held_back = sorted({*stored.info["revived"], *new})
        return {
            "started_from": {"identity": stored.identity.hex(), **facts},
            "held_back": held_back,
        }

    def _make_optimizer(self):
        settings = self.settings
        if settings.optimizer.optimizer == "adam":
            return tf.keras.optimizers.Adam(settings.optimizer.learning_rate, epsilon=1e-8)
        return optimizers.Muon(
            settings.optimizer.learning_rate,
            adam_ratio=settings.optimizer.adam_learning_rate / settings.optimizer.learning_rate,
            largest_matrix=settings.optimizer.muon_largest or None,
            product_dtype=settings.run.precision,
        )

    def rate_gradient(self):
        """The part of the rate's gradient that reaches g_a in this step; None for all.

        float32, a scalar or, where only new channels of y are held back, [N].
        """
        if not self.settings.schedule.rate_ramp:
            return None
        part = (
            tf.minimum(1.0, tf.cast(self.step, tf.float32) / self.settings.schedule.rate_ramp) ** 4
        )
        channels = self.start["held_back"]
        if channels is None:
            return part
        held_back = np.isin(np.arange(self.config.num_filters), channels).astype(np.float32)
        return 1.0 - held_back * (1.0 - part)

    def _train_step(self, crops, quality, seed, learning_rate):
        """Does one step on one replica; returns float32 [len(METRICS)], of the whole batch.

        Args:
            crops: uint8 [batch / replicas, patch, patch, 3].
            quality: float32 [batch / replicas], ignored for a fixed rate.
            seed: int32 [2], of the noise.
            learning_rate: float32.
        """
        devices = self.devices
        with tf.GradientTape() as tape:
            terms = losses_of(
                self.model,
                crops,
                quality,
                self.settings.model.lambdas,
                self.settings.model.metric,
                training=True,
                seed=seed,
                part=devices.replica(),
                rate_gradient=self.rate_gradient(),
            )
            lambdas = losses.lambda_of_quality(self.settings.model.lambdas, quality)
            loss = tf.reduce_mean(terms.loss * losses.balance(lambdas, self.settings.model.lambdas))
        gradients = tape.gradient(loss, self.variables)
        means = [tf.reduce_mean(term) for term in terms]
        loss, *means = devices.mean([loss, *means])
        gradients = devices.mean(gradients)
        norm = tf.linalg.global_norm(gradients)
        if self.settings.optimizer.clip_norm:
            scale = self.settings.optimizer.clip_norm / tf.maximum(
                norm, self.settings.optimizer.clip_norm
            )
            gradients = [g * scale for g in gradients]
        good = tf.math.is_finite(loss) & tf.math.is_finite(norm)

        def update():
            self.optimizer.learning_rate.assign(learning_rate)
            optimizers.update(self.optimizer, gradients, self.variables)
            if self.average:
                self.average.update(self.step)
            return tf.constant(1.0)

        self.step.assign_add(1)
        self.pixels.assign_add(self.settings.data.batch * self.settings.data.patch**2)
        good = tf.cond(good, update, lambda: tf.constant(0.0))
        self.skipped.assign_add(1 - tf.cast(good, tf.int64))
        return tf.stack([*means, norm, good])

    def take_step(self, crops, quality, step):
        """Runs step `step` on this process' part of a batch; returns {name in METRICS: float}."""
        seed = tf.constant([self.settings.run.seed, step], tf.int32)
        rate = tf.constant(self.settings.learning_rate_at(step), tf.float32)
        crops, quality = self.devices.split(crops), self.devices.split(quality)
        with self.devices.together():
            values = self.train_step(crops, quality, seed, rate).numpy()
        return dict(zip(METRICS, values.tolist()))

    def restore(self, path: str) -> None:
        """Takes the state from a checkpoint.

        Raises:
            GllmmError: it cannot be read, or is of another network.
        """
        try:
            self.checkpoint.restore(path).assert_existing_objects_matched()
        except (ValueError, AssertionError, tf.errors.OpError) as error:
            config = os.path.join(os.path.dirname(os.path.dirname(path)), "config.json")
            raise GllmmError(
                f"{path}: does not fit this model or cannot be read "
                f"({str(error).splitlines()[0]}); continue with the code that wrote it "
                f"({config}) or give another run_dir",
                "run_dir",
            ) from error

    def averaged(self):
        """Returns a context in which the model has its averaged weights, if there are any."""
        return self.average.applied() if self.average else contextlib.nullcontext()
