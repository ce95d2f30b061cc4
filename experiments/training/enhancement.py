"""Trains an enhancement layer on a model (`gllmm_tf/model/enhancement.py`).

    python -m experiments.training.enhancement --base=gllmm-n144 --quality=7 \\
        --train_glob='photos/**/*.jpg' --output=gllmm-n144-fine.npz

Crops of the photographs go through the model at its one quality, once; what is left of them, and the
model's y_hat, is what the layer is trained on. Its transform is that of the principal components of blocks
of 4 x 4 pixels of what is left. The entropy model learns the bits of r_hat, at steps of quantisation drawn
for each crop; the synthesis learns to give back what rounding took. Neither hangs on the other.

gllmm-n144-fine had `--crops=2 --steps=3500`, 51 minutes on two cores of a server CPU with AVX-512 and
bfloat16 that had other work beside; x_0 was not yet cut to 0..1 then. The sample photographs were left out.
`python -m experiments.tools.ship_model --model=gllmm-n144-fine.npz --output=packed.npz` packs it.

Prints bits per pixel and PSNR on the centres of the photographs that are held out, for each quality.
"""

import time

import numpy as np
import tensorflow as tf
from absl import flags
from tqdm import tqdm

from experiments.common import program
from gllmm_tf import losses
from gllmm_tf.codec.layered import DEAD_ZONE
from gllmm_tf.config import ModelConfig
from gllmm_tf.errors import ImageError, ModelError
from gllmm_tf.layers.precision import in_policy
from gllmm_tf.model import enhancement
from gllmm_tf.model.compression import CompressionModel
from gllmm_tf.training import data, optimizers
from gllmm_tf.training.revision import revision
from gllmm_tf.training.settings import PRECISIONS
from gllmm_tf.zoo.model_file import ModelFile
from gllmm_tf.zoo.registry import read_model

STEP_OF_LAMBDA = 7.2 / 255
"""The step of quantisation is this, in units of x, by the square root of lambda."""

SYNTHESIS_EVERY = 4  # steps of the entropy model: the synthesis is learned sooner


def define_flags() -> None:
    flags.DEFINE_string("base", "gllmm-n144", "Name or file of the model.")
    flags.DEFINE_float("quality", 7, "Its quality.")
    flags.DEFINE_list("train_glob", None, "Photographs, as for train.py.", required=True)
    flags.DEFINE_integer("validation_images", 16, "Photographs held out, as for train.py.")
    flags.DEFINE_integer("validation_size", 256, "Side of their centres, as for train.py.")
    flags.DEFINE_list(
        "step_sizes", ["58", "29", "20", "14", "10", "7"], "Steps of the qualities, of 255."
    )
    flags.DEFINE_integer("first_quality", 7, "Number of the first of them.")
    flags.DEFINE_list("families", ["logistic"], "Of the mixture.")
    flags.DEFINE_integer("components", 2, "Of each family.")
    flags.DEFINE_list("entropy_widths", ["192", "192"], "Of the entropy parameters' network.")
    flags.DEFINE_integer("crops", 3, "Of each photograph.", lower_bound=1)
    flags.DEFINE_integer("patch", 256, "Side of a crop in pixels.")
    flags.DEFINE_integer("batch", 6, "Crops of a step.", lower_bound=1)
    flags.DEFINE_integer("steps", 4000, "Steps of training.", lower_bound=1)
    flags.DEFINE_float("learning_rate", 1e-3, "At the start; it falls along a cosine.")
    flags.DEFINE_enum("optimizer", "muon", ["muon", "adam"], "Of the entropy model.")
    flags.DEFINE_float("dead_zone", DEAD_ZONE, "See `enhancement.quantise`.")
    flags.DEFINE_integer("seed", 0, "Decides crops, steps of quantisation and order.")
    flags.DEFINE_enum("precision", "bfloat16", list(PRECISIONS), "Of the entropy model.")
    flags.DEFINE_string("hardware", "", "For the model's record.")
    flags.DEFINE_string("output", None, "The model file to write.", required=True)


def random_crops(paths, count: int, side: int, seed: int) -> np.ndarray:
    """uint8 [B, side, side, 3]: crops of the pictures that are large enough."""
    rng, crops = np.random.default_rng(seed), []
    for path in tqdm(paths, unit="picture", leave=False):
        picture = data.decode(path)
        if min(picture.shape[:2]) >= side:
            for _ in range(count):
                r, c = (rng.integers(0, n - side + 1) for n in picture.shape[:2])
                crops.append(picture[r : r + side, c : c + side])
    if not crops:
        raise ImageError(f"no training picture has {side} x {side} pixels; give a smaller --patch")
    return np.stack(crops)


class Base:
    """The model at its quality."""

    def __init__(self, stored: ModelFile, quality: float):
        self._model = CompressionModel.load(stored)
        self._position = quality - stored.config.first_quality + 1
        self._run = tf.function(self._call)

    def left(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x - x_0 float16 [B, H, W, 3], y_hat int16 [B, h, w, N], bits per pixel [B])."""
        parts = []
        for start in tqdm(range(0, len(pictures), 4), unit="batch", leave=False):
            x = pictures[start : start + 4].astype(np.float32) / 255
            x_0, y_hat, bpp = (v.numpy() for v in self._run(x))
            parts.append(((x - x_0).astype(np.float16), y_hat.astype(np.int16), bpp))
        return tuple(np.concatenate(part) for part in zip(*parts))

    def _call(self, x):
        out = self._model(x, self._position)
        return tf.clip_by_value(out.x_hat, 0.0, 1.0), out.y_hat, out.bpp


class Trainer:
    """The compiled step. f: the flags."""

    def __init__(self, f, layer: enhancement.EnhancementLayer):
        self._layer, self._dead_zone = layer, f.dead_zone
        entropy = [layer.h_s, layer.entropy_parameters]
        self.entropy = [v for part in entropy for v in part.trainable_variables]
        self.entropy += [layer.gains.log_z_inverse, layer.gains.phi_offset]
        self.synthesis = layer.g_s.trainable_variables
        adam = tf.keras.optimizers.Adam
        self._optimizers = [
            optimizers.Muon(adam_ratio=1.0, product_dtype=f.precision)
            if f.optimizer == "muon"
            else adam(),
            adam(),
        ]
        for optimizer, variables in zip(self._optimizers, (self.entropy, self.synthesis)):
            optimizer.build(variables)
        self.learn_entropy = tf.function(self._learn_entropy)
        self.learn_synthesis = tf.function(self._learn_synthesis)
        self.judge = tf.function(self._judge)

    def _coded(self, left, y_hat, quality):
        layer, step = self._layer, self._layer.step(quality)
        r_hat = enhancement.quantise(layer.g_a(left) / step, self._dead_zone)
        return r_hat, step, tf.cast(y_hat, tf.float32)

    def _learn_entropy(self, left, y_hat, quality, rate):
        r_hat, _, y_hat = self._coded(tf.cast(left, tf.float32), y_hat, quality)
        with tf.GradientTape() as tape:
            bpp = self._bpp(left, r_hat, y_hat, quality)
            # What counts is the size of the file, to which the model's own bits belong.
            loss = tf.reduce_mean(bpp / (0.5 + tf.stop_gradient(bpp)))
        self._update(0, tape.gradient(loss, self.entropy), self.entropy, rate)
        return loss

    def _learn_synthesis(self, left, y_hat, quality, rate):
        left = tf.cast(left, tf.float32)
        r_hat, step, _ = self._coded(left, y_hat, quality)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self._layer.g_s(r_hat) - left / step))
        self._update(1, tape.gradient(loss, self.synthesis), self.synthesis, rate)
        return loss

    def _update(self, which, gradients, variables, rate):
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        self._optimizers[which].learning_rate.assign(rate)
        optimizers.update(self._optimizers[which], gradients, variables)

    def _judge(self, left, y_hat, quality):
        left = tf.cast(left, tf.float32)
        r_hat, step, y_hat = self._coded(left, y_hat, quality)
        error = tf.reduce_mean(tf.square(left - step * self._layer.g_s(r_hat)), (1, 2, 3))
        return self._bpp(left, r_hat, y_hat, quality), losses.psnr(255.0**2 * error)

    def _bpp(self, left, r_hat, y_hat, quality):
        bits = tf.reduce_sum(self._layer.bits(r_hat, y_hat, quality), (1, 2, 3))
        return bits / tf.cast(tf.size(left[0, :, :, 0]), tf.float32)


def evaluate(trainer, left, y_hat, base_bpp, qualities):
    """Rows of what each integer quality does: bpp with the model's own bits, and PSNR in dB."""
    rows = []
    for position, quality in enumerate(qualities, 1):
        found = [
            trainer.judge(left[i : i + 1], y_hat[i : i + 1], tf.constant([float(position)]))
            for i in range(len(left))
        ]
        bpp, psnr = (np.concatenate([row[k] for row in found]) for k in range(2))
        figures = {"bpp": float((bpp + base_bpp).mean()), "psnr": float(psnr.mean())}
        rows.append({"quality": quality, **figures})
    return rows


def train(f, layer, trainer, left, y_hat, watch):
    """Runs the steps; `watch(step, seconds)` is called every 250 and at the end."""
    rng, qualities = np.random.default_rng(f.seed), len(layer.config.lambdas)
    found, start = [], time.time()
    for step in range(f.steps):
        some = rng.integers(0, len(left), f.batch)
        quality = rng.uniform(1, qualities, f.batch).astype(np.float32)
        rate = min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / f.steps)) + 0.01
        batch = left[some], y_hat[some], quality, np.float32(f.learning_rate * rate)
        found.append(float(trainer.learn_entropy(*batch)))
        if step % SYNTHESIS_EVERY == 0:
            trainer.learn_synthesis(*batch)
        if (step + 1) % 250 == 0 or step + 1 == f.steps:
            seconds = time.time() - start
            print(step + 1, np.mean(found[-250:]), f"{seconds:.0f} s", flush=True)
            watch(step + 1, seconds)


def principal_components(left: np.ndarray) -> np.ndarray:
    """float64 [48, 48], of blocks [4, 4, 3] of x - x_0 to coefficients, the largest variance first."""
    count, height, width, _ = left.shape
    blocks = left.reshape(count, height // 4, 4, width // 4, 4, 3).transpose(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(-1, enhancement.CHANNELS)
    moments = np.zeros([enhancement.CHANNELS] * 2)
    for some in np.array_split(blocks, 64):
        some = some.astype(np.float64)
        moments += some.T @ some
    return np.linalg.eigh(moments)[1][:, ::-1]


def new_layer(f, stored: ModelFile, left, y_hat) -> enhancement.EnhancementLayer:
    """The layer with its transform and its steps of quantisation, not trained."""
    steps = np.array(program.numbers("step_sizes", f.step_sizes)) / 255
    config = ModelConfig(
        num_filters=enhancement.CHANNELS,
        hyper_filters=stored.config.num_filters,
        families=tuple(f.families),
        components=f.components,
        entropy_widths=tuple(program.numbers("entropy_widths", f.entropy_widths, int)),
        lambdas=tuple(np.round((STEP_OF_LAMBDA / steps) ** 2, 4).tolist()),
        first_quality=f.first_quality,
        base=stored.identity.hex(),
        base_index=stored.config.index_of(f.quality),
    )
    tf.keras.utils.set_random_seed(f.seed)
    with in_policy(PRECISIONS[f.precision]):
        layer = enhancement.EnhancementLayer(config)
        layer.build_layers()
    enhancement.set_transforms(layer, principal_components(left))
    steps = np.log(np.repeat(steps[:, None], enhancement.CHANNELS, 1))
    layer.gains.log_y.assign(-steps)
    layer.gains.log_y_inverse.assign(steps)
    spread = y_hat.astype(np.float32).std((0, 1, 2)) + 0.3
    layer.gains.log_z_inverse.assign(np.repeat(-np.log(spread)[None], len(steps), 0))
    return layer


def facts(f, stored: ModelFile, config: ModelConfig) -> dict:
    """What the model's record says, but for what the run finds."""
    commit, modified = revision()
    below = {name: stored.info.get(name) for name in ("steps", "pixels_seen", "started_from")}
    return {
        "lambdas": list(config.lambdas),
        "step_sizes": program.numbers("step_sizes", f.step_sizes),
        "first_quality": config.first_quality,
        "metric": "mse",
        "batch": f.batch,
        "patch": f.patch,
        "crops": f.crops,
        "optimizer": f.optimizer,
        "learning_rate": f.learning_rate,
        "precision": f.precision,
        "dead_zone": f.dead_zone,
        "seed": f.seed,
        "hardware": f.hardware,
        "revision": commit,
        "modified": modified,
        "started_from": {"identity": stored.identity.hex(), **below},
    }


def main(f: flags.FlagValues) -> None:
    stored = read_model(f.base)
    if stored.config.base or not stored.config.lambdas:
        raise ModelError(f"{f.base}: a layer needs a model of variable rate")
    lowest, highest = stored.config.qualities[0], stored.config.qualities[-1]
    if not lowest <= f.quality <= highest:
        raise ModelError(f"--quality is {f.quality:g}, it must be from {lowest} to {highest}")
    seen, held_out = data.split(data.find_pictures(f.train_glob), f.validation_images)
    base = Base(stored, f.quality)
    left, y_hat, _ = base.left(random_crops(seen, f.crops, f.patch, f.seed))
    layer = new_layer(f, stored, left, y_hat)
    trainer = Trainer(f, layer)
    held = base.left(data.centres(held_out, f.validation_size))

    def save(step, seconds):
        rows = evaluate(trainer, *held, layer.config.qualities)
        for row in rows:
            print("quality {quality} {bpp:.4f} bpp {psnr:.2f} dB".format(**row), flush=True)
        measured = {
            "steps": step,
            "pixels_seen": step * f.batch * f.patch**2,
            "seconds": round(seconds),
            "validation": {"qualities": rows},
        }
        info = {**facts(f, stored, layer.config), "training_pictures": len(seen), **measured}
        ModelFile.from_model(layer, info).save(f.output)

    train(f, layer, trainer, left, y_hat, save)


if __name__ == "__main__":
    program.run(main, define_flags)
