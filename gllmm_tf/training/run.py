"""Training: one resumable loop around one compiled step.

    pictures -> crops, qualities (data.py)
             -> step: model, loss (losses.py), gradient, clip, update, average
             -> every so often: metrics, validation, exported model, checkpoint

All that is random in step s (crops, qualities, quantisation noise) is a function of (seed, s) and
of the place in the batch. So a run that was stopped, at any moment and in any way, continues from
its last checkpoint as if nothing had happened, and a batch that several devices share
(distribution.py) is the same batch.
"""

import contextlib
import dataclasses
import json
import math
import os
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from gllmm_tf import config as config_lib
from gllmm_tf import errors, losses
from gllmm_tf.coding import empty_channels
from gllmm_tf.model import compression as model_lib
from gllmm_tf.training import data, distribution, growth, optimizers, validation
from gllmm_tf.zoo import model_file, registry

SKIPS_UNTIL_STOP = 20
"""Steps in a row with a non-finite loss or gradient after which a run stops."""

EMPTY_CHANNEL_PICTURES = 32
"""Training pictures whose empty channels are counted for an exported model."""

METRICS = ("loss", "bpp", "y_bpp", "z_bpp", "mse", "ms_ssim", "gradient_norm", "good")
"""What a step returns, in this order; `good` is 1, or 0 if the update was skipped."""

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}

PUBLISHED = {
    "gllmm": {
        "families": "gaussian,laplacian,logistic",
        "stages": 2,
        "entropy_widths": "640,1280",
    },
    "cheng2020": {"families": "gaussian", "stages": 1, "entropy_widths": "640,640"},
}
"""What a system was published with; settings that are left empty take these values."""


def setting(default, text):
    """Returns a dataclass field with a help text."""
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides a run; each field is a flag of train.py."""

    train_glob: str = setting("", "Comma-separated globs of training pictures (quote them).")
    run_dir: str = setting(
        "", "Folder for checkpoints, metrics and model; an existing run continues."
    )
    cache_dir: str = setting(
        "", "Folder for the decoded pictures, 3 bytes per pixel; empty: RUN_DIR/cache."
    )
    validation_images: int = setting(16, "Number of pictures held out of training for validation.")
    validation_size: int = setting(
        256, "Side in pixels of the centre crops for validation, a multiple of 64."
    )
    validation_files: int = setting(
        4, "Number of those crops that every validation also compresses to files and decodes."
    )

    system: str = setting("gllmm", "Network: gllmm or cheng2020.")
    num_filters: int = setting(128, "N, the number of channels.")
    trunk_widths: str = setting(
        "", "Channels of g_a and g_s at 1/2, 1/4 and 1/8 of the resolution; empty: N, as published."
    )
    families: str = setting(
        "",
        "Families of the mixture, comma-separated; empty: the published ones of the system.",
    )
    components: int = setting(3, "Components per family.")
    stages: int = setting(
        0, "Residual pairs per residual module: 1, 2 or 3; 0: as many as were published."
    )
    entropy_widths: str = setting(
        "", "Widths of the two hidden entropy-parameter layers; empty: the published ones."
    )
    lambdas: str = setting(
        "0.0075", "One lambda: fixed rate. Several, ascending: variable rate, one per quality."
    )
    metric: str = setting(
        "mse", "Distortion: mse (lambda 255^2 MSE + bpp) or ms-ssim (lambda (1 - MS-SSIM) + bpp)."
    )
    init_from: str = setting(
        "", "Model (name, file or run) whose weights are the start; it may be a smaller one."
    )
    rounding: str = setting(
        "ste", "What synthesis and context see in training: ste (rounded) or noise."
    )

    patch: int = setting(128, "Side of a training crop in pixels, a multiple of 64.")
    batch: int = setting(8, "Crops per step, on all devices together.")
    steps: int = setting(1000, "Length of the run, and of its learning-rate schedule, in steps.")
    optimizer: str = setting("muon", "muon (Adam for what is no large kernel) or adam.")
    learning_rate: float = setting(1.2e-3, "Peak learning rate (of Muon's kernels, with muon).")
    adam_learning_rate: float = setting(
        4e-4, "Peak learning rate of the variables that muon leaves to Adam."
    )
    muon_largest: int = setting(
        1024, "Kernels with min(rows, columns) above this are left to Adam; 0: none."
    )
    warmup: int = setting(100, "Steps of linear warm-up.")
    flat: float = setting(
        0.2, "Fraction of the steps after which the learning rate starts its cosine to zero."
    )
    rate_ramp: int = setting(
        0,
        "Steps until the rate's gradient reaches g_a in full (it grows with their fourth power): "
        "time for new channels of y to become worth their bits. Only that of the new channels, if "
        "--init_from is a file of experiments/tools/revive.py.",
    )
    clip_norm: float = setting(1.0, "Bound of the gradient's global norm; 0: none.")
    ema: float = setting(
        0.999, "Decay per step of the weight average that is validated and exported; 0: none."
    )
    precision: str = setting(
        "bfloat16", "Convolutions in float32 or bfloat16 (weights stay float32)."
    )
    jit: bool = setting(False, "Compile the step with XLA.")
    strategy: str = setting(
        "one",
        "Devices: one, mirrored (all local GPUs) or multi_worker (one process per machine, TF_CONFIG).",
    )
    seed: int = setting(
        0,
        "Seed of the initial weights, crops, qualities and noise. A run with the seed of its "
        "--init_from sees the crops of that once more; what is held out does not depend on it.",
    )

    log_every: int = setting(50, "Steps per line of metrics.")
    checkpoint_every: int = setting(500, "Steps between checkpoints; the last 3 are kept.")
    evaluate_every: int = setting(
        2000, "Steps between validations, each of which exports the model; 0: at the end."
    )
    max_seconds: float = setting(
        0.0, "Stop cleanly after so many seconds of this call; 0: no limit."
    )
    hardware: str = setting("", "Description of the machine, recorded with the model.")

    # A run may be continued with other values of these.
    FREE = (
        "run_dir",
        "cache_dir",
        "validation_files",
        "strategy",
        "steps",
        "learning_rate",
        "adam_learning_rate",
        "clip_norm",
        "log_every",
        "checkpoint_every",
        "evaluate_every",
        "max_seconds",
        "hardware",
    )

    def __post_init__(self):
        """Fills in what the system decides; raises GllmmError for a value that cannot work."""
        losses.check_patch(self.metric, self.patch)
        if self.validation_images and self.metric == "ms-ssim" and self.validation_size < 192:
            raise errors.GllmmError(
                f"--validation_size={self.validation_size} is too small for MS-SSIM; "
                "give 192 or more"
            )
        tests = [
            ("train_glob", bool(self.train_glob), "name the training pictures"),
            ("run_dir", bool(self.run_dir), "name a folder"),
            ("patch", self.patch > 0 and self.patch % 64 == 0, "give a positive multiple of 64"),
            (
                "validation_size",
                self.validation_size > 0 and self.validation_size % 64 == 0,
                "give a multiple of 64",
            ),
            ("validation_images", self.validation_images >= 0, "give 0 or more"),
            ("validation_files", self.validation_files >= 0, "give 0 or more"),
            ("batch", self.batch > 0, "give at least 1"),
            ("steps", self.steps > 0, "give at least 1"),
            ("optimizer", self.optimizer in ("muon", "adam"), "choose muon or adam"),
            ("precision", self.precision in PRECISIONS, "choose float32 or bfloat16"),
            ("rounding", self.rounding in ("ste", "noise"), "choose ste or noise"),
            (
                "strategy",
                self.strategy in distribution.STRATEGIES,
                f"choose one of {', '.join(distribution.STRATEGIES)}",
            ),
            ("jit", not self.jit or self.strategy == "one", "leave it out with several devices"),
            ("learning_rate", self.learning_rate > 0, "give a positive number"),
            ("adam_learning_rate", self.adam_learning_rate > 0, "give a positive number"),
            ("muon_largest", self.muon_largest >= 0, "give 0 or more"),
            ("warmup", self.warmup >= 0, "give 0 or more"),
            ("flat", 0 <= self.flat <= 1, "give a fraction from 0 to 1"),
            ("ema", 0 <= self.ema < 1, "give a decay from 0 to below 1"),
            ("rate_ramp", self.rate_ramp >= 0, "give 0 or more"),
            ("clip_norm", self.clip_norm >= 0, "give 0 or a positive number"),
            ("seed", 0 <= self.seed < 2**31, "give a number from 0 to 2^31 - 1"),
            ("log_every", self.log_every > 0, "give at least 1"),
            ("checkpoint_every", self.checkpoint_every > 0, "give at least 1"),
            ("evaluate_every", self.evaluate_every >= 0, "give 0 or more"),
            ("max_seconds", self.max_seconds >= 0, "give 0 or a positive number"),
        ]
        for name, good, remedy in tests:
            if not good:
                raise errors.GllmmError(
                    f"--{name}={getattr(self, name)!r} cannot be used; {remedy}"
                )
        if not self.lambda_list or min(self.lambda_list) <= 0:
            raise errors.GllmmError(
                f"--lambdas={self.lambdas!r} cannot be used; give positive numbers"
            )
        if self.system not in PUBLISHED:
            raise errors.GllmmError(
                f"--system={self.system!r} is unknown; choose one of {', '.join(PUBLISHED)}"
            )
        for name, value in PUBLISHED[self.system].items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        self.model_config()

    @property
    def lambda_list(self):
        """Lambdas as a tuple of floats."""
        return _numbers("lambdas", self.lambdas, float)

    def model_config(self):
        """Returns the ModelConfig of the run."""
        lambdas = self.lambda_list
        return config_lib.ModelConfig(
            system=self.system,
            num_filters=self.num_filters,
            trunk_widths=_numbers("trunk_widths", self.trunk_widths, int),
            families=tuple(f.strip() for f in self.families.split(",")),
            components=self.components,
            stages=self.stages,
            entropy_widths=_numbers("entropy_widths", self.entropy_widths, int),
            lambdas=lambdas if len(lambdas) > 1 else (),
            metric=self.metric,
        )

    def learning_rate_at(self, step):
        """Returns the learning rate of step 0, 1, ..: linear warm-up, flat, cosine to zero."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        start = self.flat * self.steps
        if step < start:
            return self.learning_rate * warm
        progress = min(1.0, (step - start) / max(1.0, self.steps - start))
        return self.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * progress))


def _numbers(name, text, kind):
    try:
        return tuple(kind(part) for part in str(text).split(",") if part.strip())
    except ValueError:
        raise errors.GllmmError(
            f"--{name}={text!r} is not a comma-separated list of numbers"
        ) from None


def read_config(name):
    """Reads settings from a Python file.

    The file defines a dict `SETTINGS` of fields of `Settings`, or a dict of such dicts, of which
    the name then tells the key.

    Args:
        name: "FILE.py" or "FILE.py:KEY".

    Returns:
        {field: value}.

    Raises:
        errors.GllmmError: one line: the name, what is wrong, what to do.
    """
    path, _, key = name.partition(".py:")
    path = f"{path}.py" if key else name
    try:
        table = runpy.run_path(path).get("SETTINGS")
    except Exception as error:  # whatever the code of the file may raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise errors.GllmmError(f"--config={name}: cannot be run ({reason}); mend it") from error
    if not isinstance(table, dict):
        raise errors.GllmmError(f"--config={name}: defines no dict SETTINGS; add it")
    nested = bool(table) and all(isinstance(value, dict) for value in table.values())
    if nested and key not in table:
        raise errors.GllmmError(
            f"--config={name}: has no settings {key!r}; choose {path}:KEY with KEY one of "
            f"{', '.join(table)}"
        )
    if key and not nested:
        raise errors.GllmmError(f"--config={name}: has one set of settings only; leave out :{key}")
    return _checked(name, table[key] if nested else table)


def _checked(name, table):
    kinds = {field.name: field.type for field in dataclasses.fields(Settings)}
    values = {}
    for field, value in table.items():
        if field not in kinds:
            raise errors.GllmmError(
                f"--config={name}: {field!r} is no setting; train.py --help lists them"
            )
        kind = kinds[field]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise errors.GllmmError(
                f"--config={name}: {field} is {value!r}, it must be of type {kind.__name__}"
            )
        values[field] = value
    return values


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


@contextlib.contextmanager
def _precision(name):
    """Layers made inside compute in this precision."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(PRECISIONS[name])
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


class Learner:
    """Model, optimizer, average and the compiled step: what a checkpoint holds.

    Args:
        settings: Settings.
        devices: distribution.Devices that share a step; None for one.

    Attributes:
        model: the CompressionModel.
        train_step: the compiled step, see `_train_step`; of all replicas together.
        step: tf.Variable, number of steps done, skipped ones included.
        skipped: tf.Variable, number of steps whose update was left out as not finite.
        pixels: tf.Variable, number of pixels seen.
        seconds: tf.Variable, time spent in training.
    """

    def __init__(self, settings, devices=None):
        self.settings = settings
        self.config = settings.model_config()
        self.devices = devices or distribution.Devices()
        share = self.devices.share(settings.batch)
        with self.devices.strategy.scope():
            self._make_variables()
        shape = (share, settings.patch, settings.patch, 3)
        signature = [
            tf.TensorSpec(shape, tf.uint8),
            tf.TensorSpec((share,), tf.float32),
            tf.TensorSpec((2,), tf.int32),
            tf.TensorSpec((), tf.float32),
        ]
        self.train_step = self.devices.compile(self._train_step, signature, settings.jit)
        self.judge = Judge(self.model, settings.lambda_list, settings.metric)

    def _make_variables(self):
        settings = self.settings
        tf.keras.utils.set_random_seed(settings.seed)
        with _precision(settings.precision):
            self.model = model_lib.build(self.config, settings.rounding)
        self.started_from, self.held_back = None, None
        if settings.init_from:
            start = registry.read_model(settings.init_from)
            growth.grow(self.model, model_file.restore_model(start))
            names = ("steps", "pixels_seen", "started_from")
            facts = {name: start.info.get(name) for name in names}
            self.started_from = {"identity": start.identity.hex(), **facts}
            if start.info.get("revived"):
                channels = np.arange(self.config.num_filters)
                new = np.isin(channels, start.info["revived"])
                new |= channels >= start.config.num_filters
                self.held_back = new.astype(np.float32)
        self.variables = self.model.trainable_variables
        self.optimizer = self._make_optimizer()
        self.optimizer.build(self.variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.skipped = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.pixels = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.average = WeightAverage(self.variables, settings.ema) if settings.ema else None
        self.checkpoint = tf.train.Checkpoint(
            model=self.model,
            optimizer=self.optimizer,
            step=self.step,
            skipped=self.skipped,
            pixels=self.pixels,
            seconds=self.seconds,
            average=self.average.averages if self.average else [],
        )

    def _make_optimizer(self):
        settings = self.settings
        if settings.optimizer == "adam":
            return tf.keras.optimizers.Adam(settings.learning_rate, epsilon=1e-8)
        return optimizers.Muon(
            settings.learning_rate,
            adam_ratio=settings.adam_learning_rate / settings.learning_rate,
            largest_matrix=settings.muon_largest or None,
            product_dtype=settings.precision,
        )

    def _rate_gradient(self):
        """The part of the rate's gradient that reaches g_a in this step; None for all.

        float32, a scalar or, where only new channels of y are held back, [N].
        """
        if not self.settings.rate_ramp:
            return None
        part = tf.minimum(1.0, tf.cast(self.step, tf.float32) / self.settings.rate_ramp) ** 4
        return part if self.held_back is None else 1.0 - self.held_back * (1.0 - part)

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
            terms = _losses(
                self.model,
                crops,
                quality,
                self.settings.lambda_list,
                self.settings.metric,
                training=True,
                seed=seed,
                part=devices.replica(),
                rate_gradient=self._rate_gradient(),
            )
            lambdas = losses.lambda_of_quality(self.settings.lambda_list, quality)
            loss = tf.reduce_mean(terms.loss * losses.balance(lambdas, self.settings.lambda_list))
        gradients = tape.gradient(loss, self.variables)
        means = [tf.reduce_mean(term) for term in terms]
        loss, *means = devices.mean([loss, *means])
        gradients = devices.mean(gradients)
        norm = tf.linalg.global_norm(gradients)
        if self.settings.clip_norm:
            scale = self.settings.clip_norm / tf.maximum(norm, self.settings.clip_norm)
            gradients = [g * scale for g in gradients]
        good = tf.math.is_finite(loss) & tf.math.is_finite(norm)

        def update():
            self.optimizer.learning_rate.assign(learning_rate)
            optimizers.update(self.optimizer, gradients, self.variables)
            if self.average:
                self.average.update(self.step)
            return tf.constant(1.0)

        self.step.assign_add(1)
        self.pixels.assign_add(self.settings.batch * self.settings.patch**2)
        good = tf.cond(good, update, lambda: tf.constant(0.0))
        self.skipped.assign_add(1 - tf.cast(good, tf.int64))
        return tf.stack([*means, norm, good])

    def take_step(self, crops, quality, step):
        """Runs step `step` on this process' part of a batch; returns {name in METRICS: float}."""
        seed = tf.constant([self.settings.seed, step], tf.int32)
        rate = tf.constant(self.settings.learning_rate_at(step), tf.float32)
        crops, quality = self.devices.split(crops), self.devices.split(quality)
        with self.devices.together():
            values = self.train_step(crops, quality, seed, rate).numpy()
        return dict(zip(METRICS, values.tolist()))

    def averaged(self):
        """Returns a context in which the model has its averaged weights, if there are any."""
        return self.average.applied() if self.average else contextlib.nullcontext()


def _losses(model, crops, quality, lambdas, metric, training, **options):
    """Returns the `losses.Losses` of a batch; `options` are the model's, when training."""
    x = tf.cast(crops, tf.float32) / 255.0
    out = model(x, quality if len(lambdas) > 1 else None, training=training, **options)
    x_hat = out.x_hat if training else tf.clip_by_value(out.x_hat, 0.0, 1.0)
    lambdas = losses.lambda_of_quality(lambdas, quality)
    return losses.rate_distortion(x, x_hat, out.y_bits, out.z_bits, lambdas, metric)


class Judge:
    """Rate and distortion of a model with rounded latents, at each of its integer qualities.

    Attributes:
        model: the CompressionModel.
        lambdas: one lambda per integer quality; a single one for a fixed rate.
        metric: "mse" or "ms-ssim".
    """

    def __init__(self, model, lambdas, metric):
        self.model, self.lambdas, self.metric = model, tuple(lambdas), metric
        self._losses_of = tf.function(self._losses, reduce_retracing=True, autograph=False)

    def _losses(self, crops, quality):
        return _losses(self.model, crops, quality, self.lambdas, self.metric, training=False)

    def evaluate(self, crops):
        """Judges the model at each integer quality, with rounded latents.

        Args:
            crops: uint8 [n, size, size, 3].

        Returns:
            {"loss": mean over the qualities, "qualities": [{"quality", "lambda", "loss", "bpp",
            "y_bpp", "z_bpp", "psnr" in dB, "ms_ssim" if it is the metric: means over the crops}]}.
        """
        rows = []
        for i, value in enumerate(self.lambdas):
            parts = []
            for start in range(0, len(crops), 8):
                some = tf.constant(crops[start : start + 8])
                parts.append(self._losses_of(some, tf.fill((len(some),), float(i + 1))))
            terms = losses.Losses(*(np.concatenate([p.numpy() for p in t]) for t in zip(*parts)))
            row = {"quality": i + 1, "lambda": value}
            row.update(
                {k: float(np.mean(getattr(terms, k))) for k in ("loss", "bpp", "y_bpp", "z_bpp")}
            )
            row["psnr"] = float(np.mean(psnr(terms.mse)))
            if self.metric == "ms-ssim":
                row["ms_ssim"] = float(np.mean(terms.ms_ssim))
            rows.append(row)
        return {"loss": float(np.mean([row["loss"] for row in rows])), "qualities": rows}


def table(result):
    """Returns the lines of a validation (`Judge.evaluate`), with the files if there are any.

    The estimate beside the size of the files is that of the same pictures.
    """
    rows = result["qualities"]
    similarity, files = "ms_ssim" in rows[0], "files" in rows[0]
    head = "  quality  lambda    bpp     PSNR dB  loss   "
    line = "  {quality:7d}  {lambda:<8g}  {bpp:.4f}  {psnr:7.2f}  {loss:7.4f}"
    if similarity:
        head, line = head + "  MS-SSIM", line + "  {ms_ssim:.5f}"
    if files:
        head += f"   | {rows[0]['files']['pictures']} files: bpp  estimate  PSNR dB"
        line += "   | {files[bpp]:12.4f}  {files[estimated_bpp]:8.4f}  {files[psnr]:7.2f}"
    return [head, *(line.format(**row) for row in rows)]


def psnr(mse):
    """Returns the PSNR in dB of a mean squared error of values in 0..255."""
    return 10.0 * np.log10(255.0**2 / np.maximum(mse, 1e-9))


class Run:
    """A folder with a run in it, and the loop.

    Writes under run_dir: config.json, metrics.jsonl, tensorboard/, checkpoints/, model.npz. Of
    several workers only the chief, the first one, writes; all of them read the checkpoints.
    """

    def __init__(self, settings):
        self.settings = settings
        self.folder = settings.run_dir
        self.devices = distribution.Devices(settings.strategy)
        before = self._prepare_folder()
        paths = data.find_pictures(settings.train_glob)
        self._record_pictures(before, paths)
        training, held_out = data.split(paths, settings.validation_images)
        cache = settings.cache_dir or os.path.join(self.folder, "cache")
        self.crops = data.Crops(
            data.Pictures.open(training, cache),
            settings.patch,
            settings.seed,
            len(settings.lambda_list) if len(settings.lambda_list) > 1 else None,
        )
        pictures = data.Pictures.open(held_out, cache) if held_out else data.Pictures([], [], None)
        self.validation = data.centre_crops(pictures, settings.validation_size)
        self._say(
            f"{len(training)} training pictures, {self.crops.num_small} of them left out as "
            f"smaller than the patch of {settings.patch}; {len(self.validation)} of "
            f"{len(held_out)} held-out pictures for validation"
        )
        if settings.precision == "bfloat16" and emulates_bfloat16():
            self._say(
                "this processor has no AVX-512, so bfloat16 is emulated: --precision=float32 is many "
                "times faster here"
            )
        self.learner = Learner(settings, self.devices)
        self._check_room()
        self.manager = tf.train.CheckpointManager(
            self.learner.checkpoint, self._path("checkpoints"), max_to_keep=3
        )
        self._resume()
        self._stop_reason = None

    def _path(self, *names):
        return os.path.join(self.folder, *names)

    def _say(self, text):
        if self.devices.is_chief:
            _say(text)

    def _prepare_folder(self):
        """Checks config.json if there is one, and writes it, before anything slow is done.

        Returns:
            The record that was there, or {}.
        """
        path = self._path("config.json")
        mine, record = dataclasses.asdict(self.settings), {}
        try:
            os.makedirs(self.folder, exist_ok=True)
            if os.path.exists(path):
                with open(path) as f:
                    record = json.load(f)
                theirs = record["settings"]
                for name, value in mine.items():
                    if name not in Settings.FREE and name in theirs and theirs[name] != value:
                        raise errors.GllmmError(
                            f"{self.folder}: its run has --{name}={theirs[name]!r}, not {value!r}; "
                            "use that value, or another --run_dir"
                        )
            if self.devices.is_chief:
                now = {"settings": mine, "revision": revision(), "versions": versions()}
                write_json(path, {**record, **now})
        except (ValueError, KeyError, TypeError) as error:
            raise errors.GllmmError(
                f"{path}: is not the record of a run; give another --run_dir"
            ) from error
        except OSError as error:
            raise errors.GllmmError(
                f"{self.folder}: cannot be written ({error.strerror}); give another --run_dir"
            ) from error
        return record

    def _record_pictures(self, before, paths):
        """A run goes on with the pictures that it began with: crops are drawn by their number."""
        now = {"count": len(paths), "sha256": data.fingerprint(paths)}
        then = before.get("pictures", now)
        if then != now:
            raise errors.GllmmError(
                f"{self.folder}: its run began with {then['count']} pictures, --train_glob names "
                f"{now['count']}, or others; bring them back, or give another --run_dir"
            )
        if self.devices.is_chief:
            with open(self._path("config.json")) as f:
                record = json.load(f)
            write_json(self._path("config.json"), {**record, "pictures": now})

    def _check_room(self):
        """Four checkpoints (three kept, one being written) must fit on the disk."""
        learner = self.learner
        count = sum(
            int(np.prod(v.shape)) for v in [*learner.variables, *learner.optimizer.variables]
        )
        count += sum(
            int(np.prod(v.shape)) for v in (learner.average.averages if learner.average else [])
        )
        needed, free = 4 * 4 * count, shutil.disk_usage(self.folder).free
        if free < needed:
            raise errors.GllmmError(
                f"{self.folder}: {free / 1e6:.0f} MB free, the checkpoints need "
                f"{needed / 1e6:.0f} MB; make room or give another --run_dir"
            )

    def _resume(self):
        if self.manager.latest_checkpoint:
            try:
                status = self.learner.checkpoint.restore(self.manager.latest_checkpoint)
                status.assert_existing_objects_matched()
            except (ValueError, AssertionError, tf.errors.OpError) as error:
                raise errors.GllmmError(
                    f"{self.manager.latest_checkpoint}: does not fit this model or cannot be read "
                    f"({str(error).splitlines()[0]}); continue with the code that wrote it "
                    f"({self._path('config.json')}) or give another --run_dir"
                ) from error
            self._say(f"continuing {self.folder} from step {int(self.learner.step.numpy())}")
        self.devices.check_same(
            int(self.learner.step.numpy()),
            f"{self.folder}: the workers find checkpoints of different steps there; give a "
            "--run_dir that all of them share",
        )
        path = self._path("metrics.jsonl")
        if self.devices.is_chief and os.path.exists(path):
            # A killed run has metrics of steps, and perhaps half a line, that come once more.
            with open(path) as f:
                rows = [line for line in f if line.endswith("\n") and line.strip()]
            keep = [line for line in rows if not self._comes_again(json.loads(line))]
            with open(f"{path}.tmp", "w") as f:
                f.writelines(keep)
            os.replace(f"{path}.tmp", path)

    def _comes_again(self, row):
        done = int(self.learner.step.numpy())
        finished = done >= self.settings.steps  # then only the validation is done again
        return row["step"] > done or (finished and row["step"] == done and "validation" in row)

    def train(self):
        """Trains to the end, or until a signal or the time limit.

        Returns:
            The last validation (see `Judge.evaluate`), or None.

        Raises:
            errors.GllmmError: too many steps in a row were not finite, or the disk is full.
        """
        settings, learner, devices = self.settings, self.learner, self.devices
        first, chief = int(learner.step.numpy()), devices.is_chief
        folder = self._path("tensorboard")
        writer = tf.summary.create_file_writer(folder) if chief else tf.summary.create_noop_writer()
        meter = Meter(settings, learner, self._path("metrics.jsonl") if chief else None, writer)
        show_bar = chief and sys.stderr.isatty()
        bar = tqdm(total=settings.steps, initial=first, unit="step", disable=not show_bar)
        result, bad, began = None, 0, time.monotonic()
        share = devices.share(settings.batch)
        part = share * devices.local_count, share * devices.first
        with self._signals(), writer.as_default(), bar:
            if first >= settings.steps:
                self._say(f"{self.folder}: its {first} steps are done; raise --steps to go on")
                return self._evaluate(meter, first)
            for crops, quality in self.crops.dataset(first, settings.steps, *part):
                step = int(learner.step.numpy())
                values = learner.take_step(crops, quality, step)
                meter.add(values)
                bar.update()
                step += 1
                bad = 0 if values["good"] else bad + 1
                if bad >= SKIPS_UNTIL_STOP:
                    raise self._not_finite(bad, step)
                over = settings.max_seconds and time.monotonic() - began >= settings.max_seconds
                if over:
                    self._stop_reason = f"time limit of {settings.max_seconds:.0f} s"
                if devices.any(self._stop_reason is not None):
                    self._stop_reason = self._stop_reason or "another worker was stopped"
                last = step == settings.steps or self._stop_reason is not None
                if step % settings.log_every == 0 or last:
                    text = meter.flush(step)
                    bar.set_postfix_str(text) if show_bar else self._say(text)
                due = settings.evaluate_every and step % settings.evaluate_every == 0
                if due or step == settings.steps or over:
                    result = self._evaluate(meter, step)
                if step % settings.checkpoint_every == 0 or last:
                    # After the validation: a run that was killed in between does both again.
                    self._save(meter, step)
                if last:
                    break
        if self._stop_reason:
            self._say(f"stopped at step {step}: {self._stop_reason}; the same command continues")
        elif chief:
            self._summarise(result)
        return result

    def _not_finite(self, bad, step):
        latest = self.manager.latest_checkpoint
        again = (
            f"continue from {latest} with" if latest else "start again in another --run_dir with"
        )
        return errors.GllmmError(
            f"{self.folder}: {bad} steps in a row, to step {step}, had a non-finite loss or "
            f"gradient; {again} a lower --learning_rate"
        )

    def _save(self, meter, step):
        meter.save_seconds()
        if self.devices.is_chief:
            with _writing(self._path("checkpoints")):
                self.manager.save(checkpoint_number=step)

    def _evaluate(self, meter, step):
        """Validates the averaged weights, exports the model, compresses with it, records it all."""
        learner, result = self.learner, None
        if not self.devices.is_chief:
            return None
        with meter.paused(), learner.averaged():
            if len(self.validation):
                result = learner.judge.evaluate(self.validation)
            path = self._path(model_file.FILE_NAME)
            try:
                with _writing(path):
                    empty_rows = empty_channels.fit(learner.model, spread(self.crops.pictures))
                    info = self._info(step, result)
                    model_file.export_model(learner.model, path, info, empty_rows)
                if len(self.validation) and self.settings.validation_files:
                    self._compress(path, result, step)
            except errors.ModelError as error:
                _say(f"no model is exported at step {step}: {error}")  # a later one may be
            if result:
                meter.write({"step": step, "validation": result})
                self._show(step, result)
        return result

    def _compress(self, path, result, step):
        """Adds "files" to each row of a validation: estimate and truth for the same few pictures."""
        some = self.validation[: self.settings.validation_files]
        estimates = self.learner.judge.evaluate(some)["qualities"]
        files = validation.compress(path, some, len(estimates))
        for row, estimate, real in zip(result["qualities"], estimates, files):
            row["files"] = {
                "pictures": len(some),
                "estimated_bpp": estimate["bpp"],
                "bpp": real.bpp,
                "psnr": real.psnr,
            }
        for i in sorted({0, len(files) // 2, len(files) - 1}):
            pictures = validation.side_by_side(some, files[i].decoded)
            tag = f"validation/quality_{i + 1}/original_and_decoded"
            tf.summary.image(tag, pictures, step, max_outputs=3)

    def _show(self, step, result):
        _say(f"validation at step {step}: loss {result['loss']:.4f}")
        for line in table(result):
            _say(line)
        tf.summary.scalar("validation/loss", result["loss"], step)
        for row in result["qualities"]:
            place = f"validation/quality_{row['quality']}"
            for name in ("bpp", "psnr"):
                tf.summary.scalar(f"{place}/{name}", row[name], step)
            if "files" in row:
                tf.summary.scalar(f"{place}/file_bpp", row["files"]["bpp"], step)

    def _summarise(self, result):
        """Prints what the whole run did."""
        learner = self.learner
        steps, skipped, pixels = (
            int(v.numpy()) for v in (learner.step, learner.skipped, learner.pixels)
        )
        seconds = max(float(learner.seconds.numpy()), 1e-3)
        _say(
            f"{self.folder}: {steps} steps, {skipped} of them skipped, {pixels / 1e6:.1f} Mpixel "
            f"in {seconds / 60:.1f} min, {pixels / seconds / 1e3:.0f} thousand pixels per second"
        )
        for line in table(result) if result else ():
            _say(line)
        if os.path.exists(self._path(model_file.FILE_NAME)):
            _say(f"use it: python compress.py compress PICTURE --model={self.folder}")

    def _info(self, step, result):
        """Returns the facts of training that travel with the model."""
        settings, learner = self.settings, self.learner
        return {
            "steps": step,
            "pixels_seen": int(learner.pixels.numpy()),
            "seconds": round(float(learner.seconds.numpy())),
            "skipped_steps": int(learner.skipped.numpy()),
            "started_from": learner.started_from,
            "training_pictures": len(self.crops),
            "lambdas": list(settings.lambda_list),
            "metric": settings.metric,
            "batch": settings.batch,
            "patch": settings.patch,
            "optimizer": settings.optimizer,
            "learning_rate": settings.learning_rate,
            "precision": settings.precision,
            "ema": settings.ema,
            "seed": settings.seed,
            "hardware": settings.hardware,
            "revision": revision(),
            "validation": result,
        }

    @contextlib.contextmanager
    def _signals(self):
        """Turns SIGINT and SIGTERM into a clean stop after the current step."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number, _):
            self._stop_reason = signal.Signals(number).name

        before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Meter:
    """Means of the metrics between two log lines, and the clock of the run."""

    def __init__(self, settings, learner, path, writer):
        self._settings = settings
        self._learner = learner
        self._path = path
        self._writer = writer
        self._rows = []
        self._clock = time.monotonic()
        self._since = self._clock

    def add(self, values):
        """Takes in the metrics of one step."""
        self._rows.append(values)

    @contextlib.contextmanager
    def paused(self):
        """Time inside does not count as training."""
        self.save_seconds()
        start = time.monotonic()
        yield
        away = time.monotonic() - start
        self._clock += away
        self._since += away

    def save_seconds(self):
        """Adds the time since the last call to the seconds in the checkpoint."""
        now = time.monotonic()
        self._learner.seconds.assign_add(now - self._clock)
        self._clock = now

    def flush(self, step):
        """Writes the means since the last call; returns them as a line of text."""
        self.save_seconds()
        learner = self._learner
        good = [row for row in self._rows if row["good"]]
        seconds = self._clock - self._since
        row = {"step": step}
        for name in METRICS[:-1]:
            row[name] = float(np.mean([r[name] for r in good])) if good else None
        if self._settings.metric != "ms-ssim":
            del row["ms_ssim"]
        row["psnr"] = float(psnr(row["mse"])) if good else None
        row["learning_rate"] = self._settings.learning_rate_at(step - 1)
        row["skipped"] = int(learner.skipped.numpy())
        row["seconds"] = round(float(learner.seconds.numpy()), 2)
        row["seconds_per_step"] = seconds / len(self._rows)
        row["pixels"] = int(learner.pixels.numpy())
        self.write(row)
        for name, value in row.items():
            if name != "step" and value is not None:
                tf.summary.scalar(f"train/{name}", value, step)
        self._writer.flush()
        self._rows, self._since = [], self._clock
        if not good:
            return f"step {step}: no finite step, {row['skipped']} skipped"
        left = (self._settings.steps - step) * row["seconds_per_step"]
        text = (
            "step {step}: loss {loss:.4f}, bpp {bpp:.4f} (y {y_bpp:.4f}, z {z_bpp:.4f}), "
            "PSNR {psnr:.2f} dB, {seconds_per_step:.3f} s/step"
        ).format(**row)
        text += f", {left / 60:.0f} min left"
        return text + (f", {row['skipped']} skipped" if row["skipped"] else "")

    def write(self, row):
        """Appends one line to metrics.jsonl."""
        if self._path is None:  # the chief writes
            return
        with _writing(self._path), open(self._path, "a") as f:
            f.write(json.dumps(row) + "\n")


def spread(pictures, most=EMPTY_CHANNEL_PICTURES):
    """Yields up to so many of the pictures, from all over the sequence."""
    count = min(len(pictures), most)
    return (pictures[i * len(pictures) // count] for i in range(count))


def emulates_bfloat16(cpuinfo="/proc/cpuinfo"):
    """Returns whether convolutions in bfloat16 are slow: no GPU, and an x86 processor without AVX-512."""
    if tf.config.list_physical_devices("GPU"):
        return False
    try:
        with open(cpuinfo) as f:
            flags = next((line.split() for line in f if line.startswith("flags")), [])
    except OSError:
        return False
    return bool(flags) and "avx512f" not in flags


def train(settings):
    """Runs or continues the run of the settings; returns its last validation, or None."""
    return Run(settings).train()


@contextlib.contextmanager
def _writing(path):
    """Turns what the system says about a full disk or a lost folder into one line."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise errors.GllmmError(
            f"{path}: cannot be written ({str(error).splitlines()[0]}); make room, then the same "
            "command continues"
        ) from error


def write_json(path, value):
    """Writes a JSON file, which is either complete or as it was before."""
    with open(f"{path}.tmp", "w") as f:
        json.dump(value, f, indent=2)
        f.write("\n")
    os.replace(f"{path}.tmp", path)


def revision():
    """Returns the git revision of this code, with "+" if it has changes; "" without git."""
    here = os.path.dirname(os.path.abspath(__file__))

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", here, *arguments], capture_output=True, text=True, check=True
        ).stdout

    try:
        return git("rev-parse", "HEAD").strip() + (
            "+" if git("status", "--porcelain").strip() else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return ""


def versions():
    """Returns the versions of what the numbers depend on."""
    return {"python": sys.version.split()[0], "tensorflow": tf.__version__, "numpy": np.__version__}


def _say(text):
    tqdm.write(text, file=sys.stderr)
