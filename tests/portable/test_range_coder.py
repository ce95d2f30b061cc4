"""The range coder by itself: what it writes it reads, and the bytes are pinned."""

import hashlib

import numpy as np
import pytest
from portable import range_events

from gllmm_tf.errors import FormatError, ModelError
from gllmm_tf.portable.range_coder import RangeDecoder, RangeEncoder, SymbolTable


def test_decisions_come_back():
    for frequencies, bits in range_events.streams(seed=1):
        data = range_events.write(RangeEncoder(), frequencies, bits)
        decoder = RangeDecoder(data)
        assert decoder.decisions(frequencies) == bits
        assert decoder.finish()


def test_streams_are_as_short_as_their_information():
    rng = np.random.default_rng(2)
    frequencies, bits = range_events.random_decisions(rng, 50000)
    probability = np.array(frequencies) / 65536
    information = -np.sum(np.log2(np.where(bits, 1 - probability, probability))) / 8
    data = range_events.write(RangeEncoder(), frequencies, bits)
    assert information - 4 < len(data) < 1.002 * information + 4


def test_bytes_are_pinned():
    """The digest is that of tensorflow-compression's bytes: see test_range_coder_tfc.py."""
    state = hashlib.sha256()
    for frequencies, bits in range_events.streams(seed=3):
        state.update(range_events.write(RangeEncoder(), frequencies, bits))
    assert state.hexdigest() == PINNED


PINNED = "9dd3e37b5891b742320f608b908401bfeeafe4153d7a11c7a5713dd6f061b647"


def test_carries_are_met():
    """The streams of these tests hold carries through several words, or they would show little."""
    rng = np.random.default_rng(4)
    frequencies, bits = range_events.around(1 << 31, rng, 400)
    stays = range_events.write(RangeEncoder(), frequencies, bits)
    assert stays == b"\x80"
    halves = 40 * [32768]
    below = range_events.write(RangeEncoder(), frequencies + halves, bits + 40 * [0])
    above = range_events.write(RangeEncoder(), frequencies + halves, bits + 40 * [1])
    assert below.startswith(b"\x7f" + 8 * b"\xff")
    assert above.startswith(b"\x80" + 8 * b"\0")


def test_a_stream_that_goes_on_is_noticed():
    frequencies, bits = range_events.random_decisions(np.random.default_rng(5), 3000)
    data = range_events.write(RangeEncoder(), frequencies, bits)
    for longer in (data + 5 * b"\1", data + bytes(5)):
        decoder = RangeDecoder(longer)
        decoder.decisions(frequencies)
        assert not decoder.finish()


def test_symbols_come_back():
    rng = np.random.default_rng(6)
    table = SymbolTable(range_events.FLAT_TABLE)
    assert len(table.rows) == range_events.CHANNELS
    for positions in (1, 2, 5000):
        symbols = range_events.random_symbols(rng, positions)
        encoder = RangeEncoder()
        encoder.encode(*table.intervals(symbols))
        decoder = RangeDecoder(encoder.finish())
        assert decoder.symbols(positions * table.rows) == symbols.reshape(-1).tolist()
        assert decoder.finish()


@pytest.mark.parametrize("value", [2**31 - 3, -(2**31) + 1, 2**24, -(2**24)])
def test_the_largest_escapes(value):
    table = SymbolTable([-16, 0, 65000, 65536])
    encoder = RangeEncoder()
    encoder.encode(*table.intervals(np.array([[value]])))
    assert RangeDecoder(encoder.finish()).symbols(table.rows) == [value]


def test_an_escape_without_end():
    """A stream of zeros under an escape that takes the lower half for ever: refused, not read on."""
    table = SymbolTable([-16, 0, 0, 65536])
    with pytest.raises(FormatError, match="damaged"):
        RangeDecoder(b"").symbols(100 * table.rows)


@pytest.mark.parametrize(
    "flat",
    [
        [16, 0, 65536],
        [-16, 0, 5],
        [-17, 0, 1 << 17],
        [-16, 1, 65536],
        [-16, 0, 9, 8, 65536],
        [-16, 65536],
    ],
)
def test_damaged_tables(flat):
    with pytest.raises(ModelError, match="z/cdf"):
        SymbolTable(flat)
