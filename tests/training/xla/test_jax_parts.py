"""Several runs in one bundle, trained one after the other with JAX; a file of its own: it takes long."""

import pytest
from training.xla.exported_runs import FIRST, TINY, begun_run, call
from training.xla.jax_runs import JAX_PYTHON, NEEDS_JAX, QUICKLY, rows_of

from gllmm_tf.training.xla import bundle, take_back
from gllmm_tf.training.xla.runner.schedule import Part

pytestmark = NEEDS_JAX


@pytest.mark.slow
def test_two_parts_one_after_the_other(folder, tmp_path):
    """A bundle of two runs of a few steps, the second with larger crops and the first one's weights."""
    settings, _, _ = begun_run(folder, "parts", dict(TINY, steps=FIRST + 2))
    second = settings.replace(run_dir=str(tmp_path / "end"), patch=128, batch=1, steps=2)
    parts = [(Part("first", 1, "", ""), settings), (Part("end", 1, "first", ""), second)]
    place = tmp_path / "bundle"
    bundle.write_schedule(parts, str(place), programs=("float32",))
    done = call(JAX_PYTHON, place / "run.py", f"--out={tmp_path}/out", "--log_every=1", **QUICKLY)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in rows_of(tmp_path / "out" / "first")] == [FIRST + 1, FIRST + 2]
    assert [row["step"] for row in rows_of(tmp_path / "out" / "end")] == [1, 2]
    learner, step = take_back.import_state(f"{tmp_path}/out/end", str(tmp_path / "run"))
    assert step == 2 and learner.start["started_from"]["steps"] == FIRST + 2
    again = call(JAX_PYTHON, place / "run.py", f"--out={tmp_path}/out", **QUICKLY)
    assert again.returncode == 0 and "part" not in again.stderr  # all is done
