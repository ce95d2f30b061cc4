"""Which Keras `tf.keras` is, and what is said where it is another one."""

import importlib.util
import os

import pytest

from gllmm_tf import legacy_keras
from gllmm_tf.errors import GllmmError


@pytest.fixture
def installed(monkeypatch):
    """`installed(is_there)`: whether tf-keras is found."""

    def install(is_there):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: is_there or None)

    return install


@pytest.mark.parametrize(
    "is_there, before, after",
    [(True, None, "1"), (True, "0", "0"), (False, None, None), (False, "1", "1")],
)
def test_prefer(installed, monkeypatch, is_there, before, after):
    monkeypatch.delenv(legacy_keras.VARIABLE, raising=False)
    if before:
        monkeypatch.setenv(legacy_keras.VARIABLE, before)
    installed(is_there)
    legacy_keras.prefer()
    assert os.environ.get(legacy_keras.VARIABLE) == after


def test_this_process_has_keras_2():
    pytest.importorskip("tensorflow")
    legacy_keras.check()


@pytest.mark.parametrize(
    "is_there, remedy",
    [(True, "import gllmm_tf before anything uses tf.keras"), (False, "pip install tf-keras==2.")],
)
def test_keras_3(installed, monkeypatch, is_there, remedy):
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr(tf.keras, "__version__", "3.5.0", raising=False)
    installed(is_there)
    with pytest.raises(GllmmError, match=f"tf.keras is Keras 3.5.0.*{remedy}") as caught:
        legacy_keras.check()
    assert "\n" not in str(caught.value)
