"""The range coder against tensorflow-compression's: the same bytes, and each reads the other's."""

import hashlib

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
tfc = pytest.importorskip("gllmm_tf.coding.range_ops")

from portable import range_events, test_range_coder  # noqa: E402

from gllmm_tf.portable.range_coder import RangeDecoder, RangeEncoder, SymbolTable  # noqa: E402


def decision_table():
    """int32 [65536, 4]: row f is the decision with f / 2^16 for 0; row 0 is not used."""
    table = np.zeros((65536, 4), np.int32)
    table[:, 0], table[:, 2], table[:, 3] = 16, np.maximum(np.arange(65536), 1), 65536
    return tf.constant(table)


@pytest.fixture(scope="module")
def lookup():
    return decision_table()


def tfc_stream(lookup, frequencies, bits):
    handle = tfc.create_range_encoder([], lookup)
    handle = tfc.entropy_encode_index(
        handle, tf.constant(frequencies, tf.int32), tf.constant(bits, tf.int32)
    )
    return tfc.entropy_encode_finalize(handle).numpy()


def test_the_same_bytes(lookup):
    state = hashlib.sha256()
    for frequencies, bits in range_events.streams(seed=3):
        wanted = tfc_stream(lookup, frequencies, bits)
        assert range_events.write(RangeEncoder(), frequencies, bits) == wanted
        state.update(wanted)
    assert state.hexdigest() == test_range_coder.PINNED


def test_two_million_decisions(lookup):
    frequencies, bits = range_events.random_decisions(np.random.default_rng(8), 2_000_000)
    data = range_events.write(RangeEncoder(), frequencies, bits)
    assert data == tfc_stream(lookup, frequencies, bits)
    decoder = RangeDecoder(data)
    assert decoder.decisions(frequencies) == bits
    assert decoder.finish()


def test_both_judge_damaged_streams_alike(lookup):
    rng = np.random.default_rng(9)
    verdicts = []
    for _ in range(400):
        frequencies, bits = range_events.random_decisions(rng, int(rng.integers(1, 60)))
        data = bytearray(range_events.write(RangeEncoder(), frequencies, bits))
        if data and rng.random() < 0.5:
            data[-1] ^= 1 << int(rng.integers(8))
        if rng.random() < 0.3:
            data += bytes(rng.integers(0, 2, int(rng.integers(0, 3))).tolist())
        if rng.random() < 0.2:
            frequencies = frequencies[:-1]
        handle = tfc.create_range_decoder(bytes(data), lookup)
        handle, wanted = tfc.entropy_decode_index(
            handle, tf.constant(frequencies, tf.int32), [len(frequencies)], tf.int32
        )
        decoder = RangeDecoder(data)
        assert decoder.decisions(frequencies) == wanted.numpy().tolist()
        verdicts.append(decoder.finish())
        assert verdicts[-1] == bool(tfc.entropy_decode_finalize(handle))
    assert 50 < sum(verdicts) < 350


@pytest.mark.parametrize("positions", [1, 3, 60_000])
def test_symbols_with_escapes(positions):
    symbols = range_events.random_symbols(np.random.default_rng(positions), positions)
    lookup = tf.constant(range_events.FLAT_TABLE)
    handle = tfc.entropy_encode_channel(tfc.create_range_encoder([], lookup), symbols)
    wanted = tfc.entropy_encode_finalize(handle).numpy()
    table = SymbolTable(range_events.FLAT_TABLE)
    encoder = RangeEncoder()
    encoder.encode(*table.intervals(symbols))
    assert encoder.finish() == wanted
    handle = tfc.create_range_decoder(wanted, lookup)
    _, read = tfc.entropy_decode_channel(handle, list(symbols.shape), tf.int32)
    assert RangeDecoder(wanted).symbols(positions * table.rows) == read.numpy().reshape(-1).tolist()
