"""Whether the comparison of the backends sees what differs."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from experiments.systems import backend_agreement  # noqa: E402


@pytest.fixture(scope="module")
def rows(tiny_model_path, tiny_codec, tiny_tensorflow_codec, sample_pixels):
    codecs = {"tensorflow": tiny_tensorflow_codec, "portable": tiny_codec}
    return backend_agreement.agreement(codecs, "a.png", sample_pixels, 5.5)


def test_both_write_and_read_the_same(rows, tiny_codec, sample_pixels):
    assert [row["writer"] for row in rows] == ["tensorflow", "portable"]
    assert all(row["symbols_equal"] and row["largest"] <= 1 for row in rows)
    assert rows[1]["bytes"] == len(tiny_codec.compress(sample_pixels, 5.5))
    assert backend_agreement.broken(rows) == []


def test_what_is_beyond_its_limit_is_named(rows):
    wrong = [{**rows[0], "symbols_equal": False}, {**rows[1], "share": 0.002}]
    first, second = backend_agreement.broken(wrong)
    assert first == "a.png at quality 5.5, written by tensorflow: other symbols"
    assert "written by portable: pixels differ by" in second and second.endswith("in 0.20%")


def test_other_symbols_are_seen(tiny_model_path, tiny_codec, sample_pixels):
    class Wrong:
        def decode(self, data, **options):
            decoded = tiny_codec.decode(data, **options)
            y_hat = np.array(decoded.latents.y_hat)
            y_hat[0, 0, 0] += 1
            return decoded._replace(latents=decoded.latents._replace(y_hat=y_hat))

        def encode(self, *arguments, **options):
            return tiny_codec.encode(*arguments, **options)

    codecs = {"a": tiny_codec, "b": Wrong()}
    rows = backend_agreement.agreement(codecs, "a", sample_pixels, 2.0)
    assert not any(row["symbols_equal"] for row in rows)
