"""The integer tables of the exact path, loaded from the package and never computed at run time.

`tables_v1.npz` is part of format version 1; `experiments/tools/make_tables.py` says how it was made.
"""

import functools
import hashlib
import os

import numpy as np

# Units and ranges of the tables; part of the format.
CDF_RANGE = 16  # standardised CDFs reach from -16 to 16 ...
CDF_RESOLUTION_BITS = 8  # ... in steps of 2^-8
CDF_BITS = 24  # values in units of 2^-24
EXP_RESOLUTION_BITS = 8  # exp(-i 2^-8)
FREQUENCY_BITS = 16  # a decision's probabilities in units of 2^-16

_PATH = os.path.join(os.path.dirname(__file__), "tables_v1.npz")


@functools.cache
def load():
    """`{name: int32 array}`: `cdf` [3, 8193], `exp` [4097], `frequency` [rows]."""
    with np.load(_PATH) as archive:
        return {name: archive[name] for name in archive.files}


def digest():
    """SHA-256 of the tables' values, a part of every model's identity."""
    state = hashlib.sha256()
    for name, array in sorted(load().items()):
        state.update(f"{name} {array.shape} ".encode())
        state.update(np.ascontiguousarray(array, "<i4").tobytes())
    return state.digest()


def decision_lookup():
    """Tables for tfc's range coder, int32 [rows, 4]: precision and the CDF of one binary decision."""
    frequency = load()["frequency"]
    rows = np.zeros((len(frequency), 4), np.int32)
    rows[:, 0] = FREQUENCY_BITS
    rows[:, 2] = frequency
    rows[:, 3] = 1 << FREQUENCY_BITS
    return rows


def decision_edges():
    """float64 [rows - 1]: probabilities of 0 at which the next row of `decision_lookup` takes over."""
    frequency = load()["frequency"].astype(np.float64)
    return (frequency[1:] + frequency[:-1]) / 2.0 ** (FREQUENCY_BITS + 1)


@functools.cache
def decision_costs():
    """float64 [2 rows]: bits that a decision takes of a stream at least, of `row` and `bit` at 2 row + bit.

    That is -log2 of its probability, rounded as the range coder rounds it: an interval of `size`, above
    2^16, is cut at the integer below size x probability of 0.
    """
    unit = 1 << FREQUENCY_BITS
    zero = load()["frequency"].astype(np.float64) / unit
    one = np.minimum(1.0, 1.0 - zero + 1 / unit)
    return -np.log2(np.stack([zero, one], 1)).reshape(-1)


def least_bits(flat):
    """Bits that the symbols of one position of z take of a stream at least.

    Args:
        flat: int [n], the tables of z, for every channel: minus the precision p <= 16, then the
            cumulative frequencies 0, ..., 2^p.
    """
    flat = np.asarray(flat, np.int64).reshape(-1)
    starts = np.nonzero(flat < 0)[0]
    largest = [
        np.max(np.diff(row[1:])) / 2.0 ** -row[0]
        for row in np.split(flat, starts[1:])
        if len(row) > 2
    ]
    return float(-np.sum(np.log2(np.minimum(1.0, np.array(largest) + 1 / (1 << FREQUENCY_BITS)))))
