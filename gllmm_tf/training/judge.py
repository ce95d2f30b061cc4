"""Rate and distortion of a model with rounded latents, at each of its integer qualities."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from gllmm_tf import losses
from gllmm_tf.training.meter import psnr


def losses_of(model, crops, quality, lambdas, metric, training, **options):
    """Returns the `losses.Losses` of a batch; `options` are the model's, when training."""
    x = tf.cast(crops, tf.float32) / 255.0
    out = model(x, quality if len(lambdas) > 1 else None, training=training, **options)
    if not training:
        out = out._replace(x_hat=tf.clip_by_value(out.x_hat, 0.0, 1.0))
    lambdas = losses.lambda_of_quality(lambdas, quality)
    return losses.rate_distortion_loss(x, out, lambdas, metric)


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
        return losses_of(self.model, crops, quality, self.lambdas, self.metric, training=False)

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
