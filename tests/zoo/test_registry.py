"""Models in folders beside the package's: found by name and identity, checked, never in the way."""

import hashlib
import os
import shutil

import pytest

from gllmm_tf.errors import ModelError
from gllmm_tf.zoo import registry
from gllmm_tf.zoo.model_file import ModelFile


@pytest.fixture
def other(tmp_path, monkeypatch):
    """A folder with a model of its own, "mine", which differs from the smaller shipped one."""
    folder = tmp_path / "more"
    folder.mkdir()
    stored = ModelFile.read(os.path.join(registry.FOLDER, "gllmm-n48.npz"))
    stored.weights["gains"][0] = stored.weights["gains"][0] * 2
    stored.save(str(folder / "mine.npz"))
    monkeypatch.setenv(registry.VARIABLE, f"{tmp_path / 'none'}{os.pathsep}{folder}")
    return folder


def write_checksum(folder, digest=None):
    digest = digest or hashlib.sha256((folder / "mine.npz").read_bytes()).hexdigest()
    (folder / registry.CHECKSUMS).write_text(f"{'0' * 64}  other.npz\n{digest}  mine.npz\n")


@pytest.mark.parametrize("checked", [True, False])
def test_found_by_name_and_identity(other, checked):
    if checked:
        write_checksum(other)
    stored = registry.read_model("mine")
    assert "mine" in registry.names() and "mine" not in registry.shipped_names()
    assert registry.models()["mine"] == stored.info
    assert registry.find_model(stored.identity) == "mine"
    assert registry.path_of("mine") == str(other / "mine.npz")


def test_names_of_the_package_stay_its_own(other):
    shutil.copy(other / "mine.npz", other / f"{registry.DEFAULT_MODEL}.npz")
    assert registry.path_of(registry.DEFAULT_MODEL) == os.path.join(
        registry.FOLDER, f"{registry.DEFAULT_MODEL}.npz"
    )
    assert registry.name_of(registry.read_model().identity) == registry.DEFAULT_MODEL


def test_wrong_checksum_is_refused_and_stops_nothing_else(other):
    write_checksum(other, "ab" * 32)
    with pytest.raises(ModelError, match="mine.npz: is damaged, .* fetch the file again"):
        registry.read_model("mine")
    assert registry.name_of(bytes(8)) is None
    with pytest.raises(ModelError, match=f"{'00' * 8}, which does not ship .* {registry.VARIABLE}"):
        registry.find_model(bytes(8))


def test_file_that_is_no_model_is_named(other):
    (other / "mine.npz").write_bytes(b"no model")
    with pytest.raises(ModelError, match="mine.npz: not a readable model file"):
        registry.read_model("mine")
    assert registry.name_of(registry.read_model("gllmm-n48").identity) == "gllmm-n48"


def test_unknown_name_tells_where_to_put_it(other):
    with pytest.raises(ModelError, match=rf"theirs: .*mine.*{registry.VARIABLE}"):
        registry.read_model("theirs")


def test_released_models_are_never_replaced():
    """A file that a released model wrote stays readable: these rows may only become more."""
    first = {
        "gllmm-n144": "cbd305495f79a420",
        "gllmm-n144-fine": "75ddec4af8ecaad1",
        "gllmm-n144-high": "d89223e21956e6f8",
        "gllmm-n144-ms-ssim": "d25953bd091c464e",
        "gllmm-n48": "1e9b921049ceaaa6",
    }
    assert first.items() <= registry.RELEASED.items()
    assert len(set(registry.RELEASED.values())) == len(registry.RELEASED)


def test_released_models_ship_with_their_identities():
    found = {name: registry.read_model(name).identity.hex() for name in registry.shipped_names()}
    assert found == registry.RELEASED
    for name, identity in registry.RELEASED.items():
        assert registry.find_model(bytes.fromhex(identity)) == name


def test_the_default_is_a_released_model_and_has_an_alias(other):
    assert registry.DEFAULT_MODEL in registry.RELEASED
    default = registry.read_model(registry.DEFAULT_MODEL)
    assert registry.DEFAULT_ALIAS == "default"
    assert registry.read_model("default") is default
    assert registry.read_model(None) is default
    assert registry.read_model() is default
    shutil.copy(other / "mine.npz", other / "default.npz")  # the name is the package's own
    assert registry.read_model("default") is default
