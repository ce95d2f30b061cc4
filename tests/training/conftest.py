"""Pictures to train on, and tiny runs that nothing interrupted."""

import shutil

import numpy as np
import pytest
from PIL import Image
from training.tiny_runs import PRECISIONS, rows_of, state, tiny

from gllmm_tf.training.run import Run


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """The glob of five smooth pictures, one of them smaller than a patch."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(80, 96), (70, 64), (64, 90), (100, 66), (40, 300)]):
        rows, columns = np.mgrid[:height, :width]
        waves = np.outer(rows.ravel(), rng.uniform(-0.2, 0.2, 3))
        waves += np.outer(columns.ravel(), rng.uniform(-0.2, 0.2, 3))
        values = (128 + 100 * np.sin(waves)).reshape(height, width, 3)
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{i}.png")
    return f"{folder}/*.png"


@pytest.fixture(scope="session")
def uninterrupted(pictures, tmp_path_factory):
    """name in PRECISIONS -> (settings, state after six steps, metrics, learner).

    The folder of the run has a copy, FOLDER-dead, as a process that dies after step 5 leaves it.
    """
    done = {}

    def get(name):
        if name not in done:
            folder = str(tmp_path_factory.mktemp("uninterrupted"))
            settings = tiny(train_glob=(pictures,), run_dir=folder, **PRECISIONS[name])
            run = Run(settings)
            take_step = run.learner.take_step

            def copying(crops, quality, step):
                if step == 5:  # two steps after the checkpoint
                    shutil.copytree(folder, f"{folder}-dead")
                return take_step(crops, quality, step)

            run.learner.take_step = copying
            run.train()
            done[name] = settings, state(run.learner), rows_of(folder), run.learner
        return done[name]

    return get


@pytest.fixture
def learner(uninterrupted):
    """A learner with Muon, Adam, an average and a variable rate, after six steps or more."""
    return uninterrupted("bfloat16")[3]
