"""The container of `gllmm_tf.coding.container` as TensorFlow graphs, for programs without gllmm_tf.

`pack` and `unpack` build and read the same bytes, and `unpack` refuses the same files, one check after
the other in the order of docs/format.md. What Python does there with bytes is done here on vectors of
octets and string tensors.
"""

import numpy as np
import tensorflow as tf

from gllmm_tf.config import IMAGE_MULTIPLE
from gllmm_tf.files import container

_OCTETS = np.array([bytes([i]) for i in range(256)], object)  # by value, for want of an op
_HEX = np.array([f"{i:02x}" for i in range(256)], object)
_HEADER_BYTES = 15  # magic, version, flags, quality index, identity
_MIN_SIZE = _HEADER_BYTES + 3 + 4  # three one-byte varints, two empty streams, the checksum
_VARINT_BYTES = 4
_COPY_AGAIN = "copy or download it again"
_BAD_WRITER = "not written by gllmm_tf; make the file again"  # the checksum was right


def pack(identity, size, index, z_stream, y_stream):
    """`container.pack` without metadata as a graph: string scalar.

    identity: 8 bytes. size: int32 [height, width]. index: int32 scalar, 0..255. Streams: string scalars.
    """
    body = tf.strings.join(
        [
            container.MAGIC + bytes([container.VERSION, 0]),
            tf.gather(_OCTETS, index),
            identity,
            _varint(size[1]),
            _varint(size[0]),
            _varint(tf.strings.length(z_stream)),
            z_stream,
            y_stream,
        ]
    )
    checksum = tf.bitwise.right_shift(crc32(body), np.arange(0, 32, 8))  # little endian
    return tf.strings.join([body, _join_octets(checksum % 256)])


def unpack(data, identity, max_pixels, max_index):
    """`container.unpack` and the codec's checks as a graph. Metadata are checked and skipped.

    Args:
        data: string scalar, the whole file.
        identity: 8 bytes, the model's.
        max_pixels: The largest width x height accepted, a side below 64 counted as 64.
        max_index: The model's largest quality index.

    Returns:
        (size int32 [height, width], quality index int32, z stream, y stream). Reading any of them
        from a file that is refused raises InvalidArgumentError.
    """
    data = _check_outside(data)
    end = tf.strings.length(data) - 4
    octets = tf.cast(tf.io.decode_raw(data, tf.uint8)[:end], tf.int32)
    flags, index = octets[5], octets[6]
    octets = require(
        flags <= container.FLAG_METADATA,
        ["unknown flags ", flags, ": the file uses a feature this model does not know"],
        octets,
    )
    size, at = _read_size(octets, max_pixels)
    z_length, at = _read_varint(octets, at, "z stream length")
    at = tf.cond(flags > 0, lambda: _skip_metadata(octets, at), lambda: at)
    at = _require_room(octets, at, z_length, "z stream")
    writer = tf.strings.substr(data, 7, 8)
    at = require(
        tf.equal(writer, identity),
        ["written by model ", _hex(writer, ""), f", not by this one ({identity.hex()})"],
        at,
    )
    size, index, at = require(
        index <= max_index,
        ["quality index ", index, " is beyond the model's range; make the file again"],
        (size, index, at),
    )
    z_stream = tf.strings.substr(data, at, z_length)
    y_stream = tf.strings.substr(data, at + z_length, end - at - z_length)
    return size, index, z_stream, y_stream


def _check_outside(data):
    """Magic, format version, length and checksum. Returns `data`."""
    data = require(
        tf.equal(_first(data, 4), _first(container.MAGIC, tf.strings.length(data))),
        [
            "not a .gllmm file: it begins with ",
            _hex(_first(data, 4)),
            f" instead of {container.MAGIC.hex(' ')}",
        ],
        data,
    )
    version = tf.io.decode_raw(data, tf.uint8)[4:5]  # the length is checked next
    data = require(
        tf.reduce_all(version == container.VERSION),
        ["format version ", version, f", this model reads {container.VERSION}: export it again"],
        data,
    )
    length = tf.strings.length(data)
    data = require(
        length >= _MIN_SIZE,
        ["cut short after ", length, f" bytes; the smallest file has {_MIN_SIZE}: {_COPY_AGAIN}"],
        data,
    )
    stored = tf.cast(tf.io.decode_raw(data, tf.uint8)[length - 4 :], tf.int64)
    return require(
        tf.equal(crc32(_first(data, length - 4)), tf.reduce_sum(stored * 256 ** np.arange(4))),
        [f"cut short or damaged, its checksum does not match: {_COPY_AGAIN}"],
        data,
    )


def _read_size(octets, max_pixels):
    """(int32 [height, width], position behind them)."""
    width, at = _read_varint(octets, tf.constant(_HEADER_BYTES), "width")
    height, at = _read_varint(octets, at, "height")
    size = tf.stack([height, width])
    sides = tf.cast(size, tf.int64)
    declared = ["declares a picture of ", width, " x ", height, " pixels, "]
    size = require(tf.reduce_all(sides > 0), [*declared, f"neither may be 0: {_BAD_WRITER}"], size)
    return require(
        counted_pixels(size) <= max_pixels,
        [*declared, f"more than the limit of {max_pixels} of this exported model"],
        (size, at),
    )


def counted_pixels(size):
    """`work.counted_pixels` of int32 [height, width]: int64 scalar."""
    return tf.reduce_prod(tf.cast(tf.maximum(size, IMAGE_MULTIPLE), tf.int64))


def crc32(data):
    """CRC-32, that of zlib, of a string of at least four bytes: int64 scalar.

    From the register 0 the CRC is linear over GF(2): with `shift_L` the effect of L zero bytes,

        crc(left + right) = shift_L(crc(left)) xor crc(right),   L = length of right,

    and zeros in front change nothing. So bytes, pairs, quadruples ... are joined, all blocks of a size
    at once. The register really begins with ffffffff: the same as inverting the first four bytes.
    """
    octets = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int64)
    blocks = tf.concat([255 - octets[:4], octets[4:]], 0)
    table = _crc_table()
    higher = [np.arange(256) << 8 * i for i in range(3)]  # these bytes only move down
    shift = tf.constant(np.stack([table, *higher]))

    def join(blocks, shift):
        blocks = tf.pad(blocks, [[tf.size(blocks) % 2, 0]])
        pairs = tf.reshape(blocks, [-1, 2])
        blocks = tf.bitwise.bitwise_xor(_apply(shift, pairs[:, 0]), pairs[:, 1])
        return blocks, _apply(shift, shift)  # twice as many zero bytes

    blocks, _ = tf.while_loop(
        lambda blocks, _: tf.size(blocks) > 1,
        join,
        (tf.gather(table, blocks), shift),
        shape_invariants=(tf.TensorShape([None]), shift.shape),
    )
    return tf.bitwise.bitwise_xor(blocks[0], tf.constant(0xFFFFFFFF, tf.int64))


def _crc_table():
    """Registers after one byte, from 0: int64 [256]."""
    table = np.arange(256)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ 0xEDB88320, table >> 1)
    return table


def _apply(shift, register):
    """A linear map of registers, int64 of any shape, given by its values on single bytes [4, 256]."""
    result = tf.zeros_like(register)
    for i in range(4):
        octet = tf.bitwise.right_shift(register, tf.constant(8 * i, tf.int64)) % 256
        result = tf.bitwise.bitwise_xor(result, tf.gather(shift[i], octet))
    return result


def _varint(value):
    """Unsigned LEB128 of an int32 scalar below 2^28: string scalar."""
    groups = tf.bitwise.right_shift(value, 7 * np.arange(_VARINT_BYTES, dtype=np.int32))
    more = tf.cast(groups[1:] > 0, tf.int32)
    octets = groups % 128 + tf.pad(128 * more, [[0, 1]])
    return _join_octets(octets[: 1 + tf.reduce_sum(more)])


def _read_varint(octets, at, name):
    """Reads a varint of the checked bytes, int32 [n], from position `at`: (value, next position)."""
    window = octets[at : at + _VARINT_BYTES]
    have = tf.size(window)
    window = tf.pad(window, [[0, _VARINT_BYTES - have]])  # a 0 ends a number, here beyond the file
    length = 1 + tf.reduce_sum(tf.math.cumprod(window // 128))
    last = window[tf.minimum(length, _VARINT_BYTES) - 1]
    good = tf.logical_and(length <= have, tf.logical_or(last > 0, length == 1))
    groups = tf.where(tf.range(_VARINT_BYTES) < length, window % 128, 0)
    value = tf.reduce_sum(groups * 128 ** np.arange(_VARINT_BYTES, dtype=np.int32))
    return require(
        good,
        [
            f"the {name} is not a number of at most {_VARINT_BYTES} bytes in its shortest form: "
            f"{_BAD_WRITER}"
        ],
        (value, at + length),
    )


def _skip_metadata(octets, at):
    """The position behind the metadata that begin at `at`."""
    count, at = _read_varint(octets, at, "metadata count")
    at = require(count > 0, [f"announces metadata but holds none: {_BAD_WRITER}"], at)

    def skip(i, previous, at):
        at = _require_room(octets, at, 1, "metadata tag")
        tag = octets[at]
        at = require(
            tag > previous,
            ["metadata tag ", tag, " follows ", previous, f"; tags must ascend: {_BAD_WRITER}"],
            at + 1,
        )
        length, at = _read_varint(octets, at, "length of the metadata")
        return i + 1, tag, _require_room(octets, at, length, "metadata") + length

    _, _, at = tf.while_loop(lambda i, *_: i < count, skip, (tf.constant(0), tf.constant(0), at))
    return at


def _require_room(octets, at, length, name):
    """Returns `at` if `length` bytes follow it."""
    left = tf.size(octets) - at
    message = [f"the {name} should have ", length, " bytes but only ", left, " are left: "]
    return require(length <= left, [*message, _BAD_WRITER], at)


def require(good, message, values):
    """Returns `values`, which nothing can read before `good` was found to be true.

    Otherwise InvalidArgumentError; message: its parts, texts or numbers.
    """
    parts = [part if isinstance(part, str) else _text(part) for part in message]
    with tf.control_dependencies([tf.debugging.Assert(good, [tf.strings.join(parts)])]):
        return tf.nest.map_structure(tf.identity, values)


def _text(value):
    value = tf.convert_to_tensor(value)
    if value.dtype == tf.string:
        return value
    shortest = value.dtype.is_floating
    return tf.strings.reduce_join(tf.strings.as_string(value, shortest=shortest), separator=" x ")


def _first(text, length):
    return tf.strings.substr(text, 0, length)


def _hex(text, separator=" "):
    values = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)
    return tf.strings.reduce_join(tf.gather(_HEX, values), separator=separator)


def _join_octets(values):
    """Integers 0..255 [n] to a string of n bytes."""
    return tf.strings.reduce_join(tf.gather(_OCTETS, values))
