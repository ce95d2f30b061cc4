"""Sanity of the training: can the network learn one photograph by heart?

    python -m experiments.training.overfit --output=experiments/results/overfit.json

trains GLLMM with N = 64 on a single 256 x 256 crop of a photograph until its compressed file decodes to
at least 36 dB at less than 1.5 bpp, in --steps steps at most (exit status 1 otherwise). A quantiser
whose gradient is wrong, an entropy model that cannot follow, or a transform that loses information
would show here within minutes. About 0.2 s per step on two cores.

The recipe is that of the shipped model with a larger lambda, and a learning rate that falls over the
whole run. Every --every steps the model is judged with rounded latents; the last figures are of the
real file, written and read by the codec.
"""

from __future__ import annotations

import os
import tempfile
import time

import numpy as np
from absl import flags

from experiments.common import places, program, records
from experiments.common.program import LimitError
from gllmm_tf import errors
from gllmm_tf.training import data, validation
from gllmm_tf.training.learner import Learner
from gllmm_tf.training.settings import Settings
from gllmm_tf.zoo import model_file

PSNR, BPP = 36.0, 1.5
SIZE = 256


def crop_of(path, top, left):
    """Returns uint8 [1, 256, 256, 3]."""
    crop = data.decode(path)[top : top + SIZE, left : left + SIZE]
    if crop.shape != (SIZE, SIZE, 3):
        raise errors.ImageError(
            f"{path}: has no {SIZE} x {SIZE} pixels at row {top}, column {left}"
        )
    return crop[None]


def real_file(learner, crop):
    """Returns (bpp, PSNR in dB) of the crop's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, model_file.FILE_NAME)
        model_file.export_model(learner.model, path, {})
        file = validation.compress(path, crop, 1)[0]
    return file.bpp, file.psnr


def learn(settings, crop, every):
    """Trains until the goal or the end; returns the figures as a dict."""
    learner = Learner(settings)
    quality = np.zeros(1, np.float32)
    curve, began = [], time.perf_counter()
    for step in range(1, settings.schedule.steps + 1):
        learner.take_step(crop, quality, step - 1)
        if step % every and step < settings.schedule.steps:
            continue
        with learner.averaged():
            row = learner.judge.evaluate(crop)["qualities"][0]
            curve.append({"step": step, "bpp": row["bpp"], "psnr": row["psnr"]})
            print("step {step:5d}: {psnr:.2f} dB, {bpp:.3f} bpp".format(**curve[-1]), flush=True)
            reached = row["psnr"] >= PSNR and row["bpp"] < BPP
            if reached or step == settings.schedule.steps:
                bpp, psnr = real_file(learner, crop)
                if step == settings.schedule.steps or (psnr >= PSNR and bpp < BPP):
                    break
    return {
        "num_filters": settings.model.num_filters,
        "lambda": settings.model.lambdas[0],
        "steps": step,
        "seconds": round(time.perf_counter() - began),
        "file_bpp": bpp,
        "file_psnr": psnr,
        "curve": curve,
    }


def define_flags() -> None:
    flags.DEFINE_string("picture", places.SAMPLES[0], "Photograph.")
    flags.DEFINE_integer("top", 20, "First row of the crop.", 0)
    flags.DEFINE_integer("left", 200, "First column of the crop.", 0)
    flags.DEFINE_integer("num_filters", 64, "N.")
    flags.DEFINE_float("lambda", 0.1, "Weight of the distortion.")
    flags.DEFINE_integer("steps", 1500, "Steps at most.", 1)
    flags.DEFINE_integer("every", 100, "Steps between two judgements.", 1)
    flags.DEFINE_string("output", "", "JSON file for the figures; empty: none.")


def main(f: flags.FlagValues) -> None:
    settings = Settings.of(
        num_filters=f.num_filters,
        lambdas=(f["lambda"].value,),
        patch=SIZE,
        batch=1,
        steps=f.steps,
        flat=0.0,
        ema=0.99,
    )
    figures = learn(settings, crop_of(f.picture, f.top, f.left), f.every)
    place = {"picture": os.path.basename(f.picture), "top": f.top, "left": f.left}
    if f.output:
        records.write_json(f.output, {**place, **figures})
    print(
        f"{figures['steps']} steps: a file of {figures['file_bpp']:.3f} bpp that decodes to "
        f"{figures['file_psnr']:.2f} dB; wanted {PSNR:g} dB below {BPP:g} bpp"
    )
    if figures["file_psnr"] < PSNR or figures["file_bpp"] >= BPP:
        raise LimitError("the network did not learn the picture by heart")


if __name__ == "__main__":
    program.run(main, define_flags)
