"""Streams of decisions that reach every branch of a range coder, for its tests."""

import numpy as np

FULL = 1 << 32


def random_decisions(rng, count):
    """(frequencies of 0, bits): likely and unlikely ones, and the outermost frequencies."""
    kind = rng.integers(0, 4, count)
    frequency = rng.integers(1, 1 << 16, count)
    frequency = np.where(kind == 1, 1 + (1 << rng.integers(0, 16, count)) // 2, frequency)
    frequency = np.where(kind == 2, 65536 - (1 << rng.integers(0, 16, count)) // 2, frequency)
    frequency = np.clip(frequency, 1, 65535)
    bits = (rng.random(count) * 65536 >= frequency) ^ (kind == 3)
    return frequency.tolist(), bits.astype(int).tolist()


def around(target, rng, count):
    """Decisions whose interval always holds a point: the encoder's carry stays undecided for long.

    Args:
        target: int, the point out of 2^32.
        rng: Where the frequencies come from.
        count: Decisions.
    """
    base, size = 0, FULL
    frequencies, bits = [], []
    for frequency in rng.choice([1, 2, 300, 32768, 65000, 65535], count).tolist():
        bound = size * frequency >> 16
        bit = int(target >= base + bound)
        if target == base + bound and size - bound > bound:
            bit = 0  # not at the lower end of an interval: above it there is no carry to wait for
        base, size = (base + bound, size - bound) if bit else (base, bound)
        if size <= 65536:
            base, size, target = base << 16, size << 16, target << 16
        frequencies.append(frequency)
        bits.append(bit)
    return frequencies, bits


def streams(seed, rounds=40):
    """Yields (frequencies, bits) of many kinds and lengths."""
    rng = np.random.default_rng(seed)
    for length in range(20):
        yield random_decisions(rng, length)
    for _ in range(rounds):
        yield random_decisions(rng, int(rng.integers(20, 4000)))
        target = int(rng.choice([1 << 31, 1 << 24, 0xFF00 << 16, 0x10000, 3 << 30, 0xABCD0000]))
        frequencies, bits = around(target, rng, int(rng.integers(1, 600)))
        yield frequencies, bits
        more_frequencies, more_bits = random_decisions(rng, int(rng.integers(1, 50)))
        yield frequencies + more_frequencies, bits + more_bits
    for bit in (0, 1):
        for frequency in (1, 32768, 65535):
            yield [frequency] * 700, [bit] * 700


def write(encoder, frequencies, bits):
    """Writes decisions and returns the stream."""
    lower = [frequency if bit else 0 for frequency, bit in zip(frequencies, bits)]
    upper = [65536 if bit else frequency for frequency, bit in zip(frequencies, bits)]
    encoder.encode(lower, upper)
    return encoder.finish()


# Channels of few and of many symbols, precisions from 2 to 16, likely and unlikely escapes.
FLAT_TABLE = np.array(
    [-16, 0, 30000, 65535, 65536]
    + [-2, 0, 1, 4]
    + [-16, 0, 1, 2, 40000, 60000, 65536]
    + [-8, 0, 256]
    + [-12, 0, 0, 1000, 1000, 4000, 4096]
    + [-16, *np.linspace(0, 65536, 300).astype(int).tolist()],
    np.int32,
)
CHANNELS = 6


def random_symbols(rng, positions):
    """int32 [positions, CHANNELS] of the distributions above, every tenth far outside of them."""
    symbols = rng.integers(0, [2, 1, 4, 1, 4, 298], (positions, CHANNELS))
    symbols[:, 4] = rng.choice([1, 3], positions)  # symbols 0 and 2 have no probability
    far = np.round(rng.laplace(size=symbols.shape) * 2.0 ** rng.integers(0, 28, symbols.shape))
    far = np.clip(far, 400 - 2**30, 2**30 - 400).astype(np.int64)  # tfc's encoder takes no more
    far[:, 4] = np.where((far[:, 4] == 0) | (far[:, 4] == 2), -1, far[:, 4])
    return np.where(rng.random(symbols.shape) < 0.1, far, symbols).astype(np.int32)
