"""Cases of checkpoints, written once."""

import numpy as np
import pytest
from originals.written_checkpoints import (
    MEDIANS,
    Case,
    N,
    leftovers,
    stored_form,
    write_checkpoint,
)

from gllmm_tf.originals.checkpoint import (
    import_checkpoint,
)


@pytest.fixture(scope="module", params=["gllmm_n16", "cheng_n16"])
def case(request):
    return Case(request.param)


@pytest.fixture(scope="module")
def cheng():
    return Case("cheng_n16")


@pytest.fixture(scope="module")
def with_medians(case, tmp_path_factory):
    """(checkpoint's prefix, its arrays): medians of every kind, and what training leaves behind."""
    arrays = stored_form(case.weights, MEDIANS)
    prefix = tmp_path_factory.mktemp("checkpoint") / "model.ckpt-1500001"
    return write_checkpoint(prefix, {**arrays, **leftovers()}), arrays


@pytest.fixture(scope="module")
def imported(with_medians):
    prefix, _ = with_medians
    return import_checkpoint(prefix)


@pytest.fixture(scope="module")
def intact(cheng, tmp_path_factory):
    """Prefix of a small whole checkpoint, for tests that damage copies of it."""
    prefix = tmp_path_factory.mktemp("intact") / "model"
    return write_checkpoint(prefix, stored_form(cheng.weights, np.zeros(N)))


# ------------------------------------------------------------------------------ parametrisations
