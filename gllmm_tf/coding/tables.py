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
