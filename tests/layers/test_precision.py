"""What the processor does fast, by what Linux says of it."""

import pytest
import tensorflow as tf

from gllmm_tf.layers import precision


@pytest.mark.parametrize(
    "text, emulated, fast",
    [
        ("flags\t\t: fpu avx avx2 fma\n", True, False),
        ("flags\t\t: fpu avx2 avx512f\n", False, False),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", False, True),
        ("flags\t\t: fpu avx2 avx512f amx_bf16 amx_tile\n", False, True),
        ("Features\t: fp asimd bf16\n", False, False),
    ],
)
def test_processors(tmp_path, monkeypatch, text, emulated, fast):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{text}")
    assert precision.emulates_bfloat16(str(path)) == emulated
    assert precision.has_fast_bfloat16(str(path)) == fast
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    assert not precision.emulates_bfloat16(str(path))
    assert not precision.has_fast_bfloat16(str(path))


def test_where_nothing_tells(tmp_path):
    assert not precision.emulates_bfloat16(str(tmp_path / "none"))
    assert not precision.has_fast_bfloat16(str(tmp_path / "none"))


def test_policies_are_put_back():
    before = tf.keras.mixed_precision.global_policy().name
    with precision.in_policy("mixed_bfloat16"):
        inside = tf.keras.layers.Dense(1)
        with precision.in_float32():
            assert tf.keras.layers.Dense(1).compute_dtype == "float32"
    assert inside.compute_dtype == "bfloat16"
    assert tf.keras.mixed_precision.global_policy().name == before
