"""What a run recommends that has diverged is of before."""

import os

import numpy as np
import pytest
import tensorflow as tf
from training.tiny_runs import tiny

from gllmm_tf import errors
from gllmm_tf.training import run as loop
from gllmm_tf.training.divergence import sound_until
from gllmm_tf.training.run import KEPT, Run


def rows(*losses, every=10):
    return [{"step": every * (i + 1), "loss": loss} for i, loss in enumerate(losses)]


@pytest.mark.parametrize(
    "losses, step, wanted",
    [
        ((), 7, 7),
        ((900.0, 5.0, 2.0), 35, 35),  # nothing is known against the steps since the last row
        ((900.0, 5.0, 2.0, 3.0, 25.0, 1e4), 63, 40),
        ((5.0, 2.0, 60.0, 2.5, 1e9), 57, 40),  # it came back from the first outlier
        ((5.0, 2.0, None), 25, 25),  # the row without a finite step is of later
        ((5.0, 2.0, None, None), 45, 20),
        ((None, None), 20, 0),
        ((2.0, 1e8, 1e9, 1e10), 40, 10),
    ],
)
def test_last_sound_step(losses, step, wanted):
    found = rows(*losses)
    assert sound_until([*found[:1], {"step": 10, "validation": {}}, *found[1:]], step) == wanted


class Kept:
    """In place of a CheckpointManager: what it keeps, without any files."""

    def __init__(self, folder):
        self.folder, self.checkpoints = folder, []

    @property
    def latest_checkpoint(self):
        return self.checkpoints[-1] if self.checkpoints else None

    def save(self, checkpoint_number):
        os.makedirs(self.folder, exist_ok=True)
        self.checkpoints = [*self.checkpoints, f"{self.folder}/ckpt-{checkpoint_number}"][-KEPT:]


@pytest.fixture
def broken(eagerly, pictures, tmp_path, monkeypatch):
    """Returns a run whose steps have the losses that are given, None for one that is not finite."""
    monkeypatch.setattr(loop, "SKIPS_UNTIL_STOP", 3)

    def make(losses, **changes):
        common = dict(train_glob=(pictures,), run_dir=str(tmp_path), steps=30, validation_images=0)
        run = Run(tiny(**{**common, **changes}))
        run.manager = Kept(run.folder.file("checkpoints"))
        names = ("bpp", "y_bpp", "z_bpp", "mse", "ms_ssim", "gradient_norm")

        def take_step(crops, quality, step):
            if step >= len(losses) or losses[step] is None:
                return {**dict.fromkeys(names, np.nan), "loss": np.nan, "good": 0.0}
            return {**dict.fromkeys(names, 1.0), "loss": losses[step], "good": 1.0}

        run.learner.take_step = take_step
        return run

    return make


@pytest.mark.parametrize(
    "losses, every, wanted",
    [
        ([1.0] * 5, 2, 4),  # steps from the sixth on are not finite
        ([1.0] * 4 + [50.0, 1e3, 1e4, 1e5], 1, 4),  # a loss that grew before: not the latest
        ([9.0, 1.0, 1.0, 30.0, 1e3, 1e5, 1e7, 1e9, 1e11, 1e12], 2, 2),  # which is kept until then
    ],
)
def test_run_goes_back_to_before_the_divergence(broken, losses, every, wanted):
    run = broken(losses, checkpoint_every=every)
    with pytest.raises(errors.GllmmError) as caught:
        run.train()
    path = run.folder.file("checkpoints", f"ckpt-{wanted}")
    message = str(caught.value)
    assert f"continues from {path}, which is of before, with a lower learning_rate" in message
    assert "\n" not in message and caught.value.argument == "learning_rate"
    state = tf.train.get_checkpoint_state(os.path.dirname(path))
    assert state.model_checkpoint_path == path == state.all_model_checkpoint_paths[-1]


def test_without_a_checkpoint_the_same_command_starts_again(broken):
    with pytest.raises(errors.GllmmError, match="; start again with a lower learning_rate"):
        broken([1.0], checkpoint_every=20).train()


def test_a_single_bad_step_costs_no_checkpoint(broken):
    run = broken([1.0, None, 1.0, 1.0, None], steps=5, checkpoint_every=1)
    run.train()
    assert [path[-1] for path in run.manager.checkpoints] == ["3", "4", "5"]
