"""The range coder by itself: what it writes it reads, and the bytes are pinned."""

import hashlib

import numpy as np
import pytest
from portable import random_models, range_events

from gllmm_tf import work
from gllmm_tf.coding import tables
from gllmm_tf.errors import FormatError, ModelError
from gllmm_tf.portable.range_coder import RangeDecoder, RangeEncoder, SymbolTable
from gllmm_tf.zoo import registry


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


OF_PICTURES = [name for name in registry.names() if not registry.read_model(name).config.base]


@pytest.mark.parametrize("source", [*OF_PICTURES, "random"])
def test_no_picture_takes_fewer_bytes_than_it_is_said_to(source):
    """The likeliest symbols of z everywhere: large flat pictures stay readable, with few bytes to spare."""
    stored = (
        random_models.model_file("variable") if source == "random" else registry.read_model(source)
    )
    cdf = stored.exact["z/cdf"]
    table, bits = SymbolTable(cdf), tables.least_bits(cdf)
    likeliest = [int(np.argmax(np.diff(row))) for row in table.rows]
    for blocks in (1, 50, 2000):
        encoder = RangeEncoder()
        encoder.encode(*table.intervals(np.tile(likeliest, [blocks, 1])))
        least = work.least_bytes(blocks, bits)
        length = len(encoder.finish())
        assert least <= length
        assert source == "random" or length <= 1.01 * least + 2 * work.END_BYTES


def test_decisions_cost_what_they_are_said_to_or_more():
    """No stream that holds its decisions looks as if it had ended."""
    costs = tables.decision_costs().reshape(-1, 2)
    frequency = tables.load()["frequency"].tolist()
    rng = np.random.default_rng(7)
    for spread in (1, 40, 1200):
        rows = np.clip(rng.normal(1276, spread, 20000), 0, len(frequency) - 1).astype(int)
        rows[: len(rows) // 2] = len(frequency) - 1 - rng.integers(0, spread, len(rows) // 2)
        frequencies = [frequency[row] for row in rows]
        bits = (rng.random(len(rows)) * 65536 >= frequencies).astype(int)
        data = range_events.write(RangeEncoder(), frequencies, bits.tolist())
        spent = np.sum(costs[rows, bits]) / 8
        assert 0.99 * len(data) - 4 < spent < len(data) + 4
        decoder = RangeDecoder(data)
        decoder.decisions(frequencies)
        assert decoder.bytes_behind() <= work.END_BYTES
