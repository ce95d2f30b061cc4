"""The range coder of both streams, in plain Python integers.

It writes the bytes of tensorflow-compression's range coder and reads them (`create_range_encoder`,
`entropy_encode_index`, `entropy_encode_channel`, `entropy_encode_finalize` and their counterparts). The
coder is that of G. N. N. Martin, "Range coding: an algorithm for removing redundancy from a digitised
message", 1979.

The state is an interval [base, base + size). An event with the probability interval
[lower, upper) / 2^16 narrows it to

    base <- base + (size lower >> 16)        size <- (size upper >> 16) - (size lower >> 16)

and whenever size has come down to 2^16 or less, the 16 bits of base above its lower 16 move into the
stream and both are multiplied by 2^16. So size is from 2^16 to 2^32 and no event has an empty interval.
An interval out of 2^p with p < 16 is the same interval out of 2^16, exactly.

A base of 2^32 or more carries into the words already written; an encoder keeps them in a list. A stream
ends with the number in the last interval that takes the fewest bytes, without trailing zeros: a decoder
reads zeros behind the end.

A symbol beyond its table is escaped: the table's last symbol, then g = 1, 2, ... as an Elias gamma code
(as many 0 as g has bits behind the first, then all bits of g) and the sign, all of probability 1/2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gllmm_tf.errors import FormatError, ModelError

PRECISION = 16
UNIT = 1 << PRECISION  # probabilities are multiples of 1 / UNIT

_FULL = 1 << 32
_LOW = UNIT - 1
_HALF = UNIT // 2
_MAX_GAMMA_BITS = 30  # behind the first: escaped values have 32 bits


class RangeEncoder:
    """Writes events one after the other."""

    def __init__(self):
        self._base, self._size = 0, _FULL
        self._words: list[int] = []  # 16 bits each

    def encode(self, lower: Iterable[int], upper: Iterable[int]) -> None:
        """Writes events with the probability intervals [lower, upper) / 2^16.

        Args:
            lower, upper: Iterables of int of equal length, 0 <= lower < upper <= 2^16.
        """
        base, size, words = self._base, self._size, self._words
        for low, high in zip(lower, upper):
            start = size * low >> 16
            base += start
            size = (size * high >> 16) - start
            if size <= 65536:
                size <<= 16
                if base >= _FULL:
                    _carry(words)
                words.append(base >> 16 & _LOW)
                base = (base & _LOW) << 16
        self._base, self._size = base, size

    def finish(self) -> bytes:
        """The bytes of the stream. Nothing can be written afterwards."""
        base, words = self._base, self._words
        if base >= _FULL:
            _carry(words)
            base -= _FULL
        last = base + self._size - 1
        if last >= _FULL:  # 2^32 lies inside: a carry, and nothing but zeros behind it
            while words[-1] == _LOW:
                words.pop()
            tail = (words.pop() + 1).to_bytes(2, "big")
        elif base == 0:
            tail = b""
        elif (base - 1 >> 24) < last >> 24:
            tail = bytes([(base - 1 >> 24) + 1])
        else:
            tail = ((base - 1 >> 16) + 1).to_bytes(2, "big")
        return np.array(words, ">u2").tobytes() + tail.rstrip(b"\0")


class RangeDecoder:
    """Reads events one after the other.

    Args:
        data: Bytes of the stream.
    """

    def __init__(self, data: bytes):
        data = bytes(data)
        self._words = np.frombuffer(data + bytes(len(data) % 2), ">u2").tolist()
        self._at = 2
        # What the number in the stream is above the interval's base.
        self._size, self._offset = _FULL, self._word(0) << 16 | self._word(1)

    def decisions(self, frequencies: Iterable[int]) -> list[int]:
        """Reads decisions between 0 and 1.

        Args:
            frequencies: Iterable of int, 2^16 times the probability of 0, from 1 to 2^16 - 1.

        Returns:
            List of int, 0 or 1.
        """
        size, offset, at = self._size, self._offset, self._at
        words, end = self._words, len(self._words)
        bits: list[int] = []
        append = bits.append
        for frequency in frequencies:
            bound = size * frequency >> 16
            if offset < bound:
                size = bound
                append(0)
            else:
                offset -= bound
                size -= bound
                append(1)
            if size <= 65536:
                size <<= 16
                offset = offset << 16 | (words[at] if at < end else 0)
                at += 1
        self._size, self._offset, self._at = size, offset, at
        return bits

    def symbols(self, rows: Iterable[list[int]]) -> list[int]:
        """Reads symbols that may be escaped.

        Args:
            rows: Iterable of lists of int, as `SymbolTable.rows` has them.

        Returns:
            List of int.

        Raises:
            FormatError: an escaped symbol has more than 32 bits, which no encoder writes.
        """
        size, offset, at = self._size, self._offset, self._at
        words, end = self._words, len(self._words)
        symbols = []
        for row in rows:
            symbol, start, stop = 0, 0, size * row[1] >> 16
            while offset >= stop:
                symbol += 1
                start, stop = stop, size * row[symbol + 1] >> 16
            offset -= start
            size = stop - start
            if size <= 65536:
                size <<= 16
                offset = offset << 16 | (words[at] if at < end else 0)
                at += 1
            if symbol == len(row) - 2:
                self._size, self._offset, self._at = size, offset, at
                symbol = self._escaped(symbol)
                size, offset, at = self._size, self._offset, self._at
            symbols.append(symbol)
        self._size, self._offset, self._at = size, offset, at
        return symbols

    def bytes_behind(self) -> int:
        """How many bytes, all zeros, have been used up behind the end of the stream; about."""
        return max(0, 2 * (self._at - 2 - len(self._words)))  # two words are read ahead

    def finish(self) -> bool:
        """Whether the stream ends here: all of it is read, and it is what an encoder ends with."""
        if self._at < len(self._words):
            return False
        value = self._word(self._at - 2) << 16 | self._word(self._at - 1)
        base = (value - self._offset) % _FULL
        last = base + self._size - 1
        if base == 0 or last >= _FULL:
            return value == 0
        shift = 24 if (base - 1 >> 24) < last >> 24 else 16
        return ((base - 1 >> shift) + 1) << shift == value

    def _escaped(self, escape):
        """What follows the symbol `escape`, the last one of its table."""
        bits = 0
        while self.decisions([_HALF]) == [0]:
            bits += 1
            if bits > _MAX_GAMMA_BITS:
                raise FormatError(
                    "the z stream is damaged although the checksum fits; make it again"
                )
        gamma = 1
        for bit in self.decisions(bits * [_HALF]):
            gamma = gamma << 1 | bit
        (negative,) = self.decisions([_HALF])
        return -gamma if negative else escape - 1 + gamma

    def _word(self, i):
        return self._words[i] if i < len(self._words) else 0


class SymbolTable:
    """Frequencies of integer symbols, a row per channel; symbols outside of a row are escaped.

    Args:
        flat: int [n], for every channel: minus the precision p <= 16, then the cumulative frequencies
            0, ..., 2^p, as tensorflow-compression stores them.

    Attributes:
        rows: Lists of int, the cumulative frequencies out of 2^16.

    Raises:
        ModelError: there is another layout.
    """

    def __init__(self, flat: np.ndarray | Sequence[int]):
        stored = np.asarray(flat).reshape(-1).tolist()
        self.rows: list[list[int]] = []
        at = 0
        while at < len(stored):
            precision = -stored[at]
            unit = 1 << precision if 1 <= precision <= PRECISION else None
            if unit not in stored[at + 1 :]:
                raise ModelError("the model's table z/cdf is damaged; fetch or export it again")
            end = stored.index(unit, at + 1) + 1
            row = [value << PRECISION - precision for value in stored[at + 1 : end]]
            if row[0] != 0 or row != sorted(row) or len(row) < 2:
                raise ModelError("the model's table z/cdf is damaged; fetch or export it again")
            self.rows.append(row)
            while end < len(stored) and stored[end] == unit:
                end += 1
            at = end

    def intervals(self, symbols: np.ndarray) -> tuple[list[int], list[int]]:
        """Events that write symbols: (lower, upper), lists of int.

        Args:
            symbols: int [positions, channels].
        """
        escapes = np.array([len(row) - 2 for row in self.rows])
        table = np.zeros([len(self.rows), escapes.max() + 2], np.int64)
        for channel, row in zip(table, self.rows):
            channel[: len(row)] = row
        escaped = (symbols < 0) | (symbols >= escapes)
        channels = np.arange(len(self.rows))
        inside = np.where(escaped, escapes, symbols)
        lower = table[channels, inside].reshape(-1).tolist()
        upper = table[channels, inside + 1].reshape(-1).tolist()
        places = np.nonzero(escaped.reshape(-1))[0].tolist()
        if not places:
            return lower, upper
        below: list[int] = []
        above: list[int] = []
        start = 0
        for place in places:
            symbol = int(symbols.reshape(-1)[place])
            bits = _gamma_bits(symbol, int(escapes[place % len(escapes)]))
            below.extend(lower[start : place + 1] + [_HALF * bit for bit in bits])
            above.extend(upper[start : place + 1] + [_HALF * bit + _HALF for bit in bits])
            start = place + 1
        return below + lower[start:], above + upper[start:]


def _gamma_bits(symbol, escape):
    gamma = -symbol if symbol < 0 else symbol - escape + 1
    behind = gamma.bit_length() - 1
    bits = [gamma >> i & 1 for i in range(behind, -1, -1)]
    return [0] * behind + bits + [int(symbol < 0)]


def _carry(words):
    """Adds 1 to the number that the words are."""
    i = len(words) - 1
    while words[i] == _LOW:
        words[i] = 0
        i -= 1
    words[i] += 1
