"""The programs behind the conformance files and the pages about them."""

import os

import numpy as np
import pytest

from experiments.common import doc_tables
from experiments.tools import conformance_models, format_pages, make_conformance
from gllmm_tf.files import container
from gllmm_tf.zoo.model_file import ModelFile

MADE = list(format_pages.pages())


@pytest.mark.parametrize("page, name, text", MADE, ids=[name for _, name, _ in MADE])
def test_pages_say_what_is_true(page, name, text):
    assert doc_tables.extract(page, name) == text.rstrip() + "\n"


@pytest.mark.parametrize("name", conformance_models.RECIPES)
def test_models_are_drawn_again(name):
    """What symbols depend on; the scale of g_s is measured, and so may differ in a last bit."""
    drawn = conformance_models.draw(name)
    stored = ModelFile.read(os.path.join(format_pages.SUITE, "models", f"{name}.npz"))
    assert drawn.config == stored.config
    assert set(drawn.exact) == set(stored.exact)
    for key, array in drawn.exact.items():
        np.testing.assert_array_equal(array, stored.exact[key])
    shapes = [array.shape for array in stored.weights["g_s"]]
    assert shapes == conformance_models.synthesis_shapes(stored.config)


@pytest.mark.parametrize("name", make_conformance.CASES)
def test_files_are_made_again(name):
    """The streams and fields; compressed metadata may differ with the libraries."""
    case = make_conformance.CASES[name]
    stored = ModelFile.read(os.path.join(format_pages.SUITE, "models", f"{case.model}.npz"))
    with open(os.path.join(format_pages.SUITE, "files", f"{name}.gllmm"), "rb") as file:
        wanted = container.unpack(file.read())
    made = container.unpack(make_conformance.drawn_file(case, stored))
    for field in ("model_id", "width", "height", "quality_index", "z_stream", "y_stream"):
        assert getattr(made, field) == getattr(wanted, field), field
    assert set(made.metadata) == set(wanted.metadata)
