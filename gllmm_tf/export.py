"""A model as a TensorFlow SavedModel: pixels to the bytes of a `.gllmm` file and back, without gllmm_tf.

```
image, quality --> pad --> g_a, h_a --> round --> streams --> header and CRC-32 --> data
data --> checks --> streams --> y_hat --> g_s --> round, crop --> image
```

Everything between the two ends is one graph per direction: header, varints and checksum too, which
`gllmm_tf.coding.container` does in Python. A process needs TensorFlow and tensorflow-compression, whose
kernels are the range coder. docs/export.md says how to use the result.
"""

import numpy as np
import tensorflow as tf

from gllmm_tf.codec import MAX_LATENT, Codec
from gllmm_tf.coding import container
from gllmm_tf.coding.fixed_point import QUALITY_STEPS
from gllmm_tf.config import IMAGE_MULTIPLE
from gllmm_tf.transforms import AnalysisTransform, HyperAnalysisTransform, SynthesisTransform

SIGNATURES = ("compress", "decompress", "analysis", "synthesis")

_OCTETS = np.array([bytes([i]) for i in range(256)], object)  # by value, for want of an op
_HEX = np.array([f"{i:02x}" for i in range(256)], object)
_HEADER_BYTES = 15  # magic, version, flags, quality index, identity
_MIN_SIZE = _HEADER_BYTES + 3 + 4  # three one-byte varints, two empty streams, the checksum
_VARINT_BYTES = 4
_COPY_AGAIN = "copy or download it again"
_BAD_WRITER = "not written by gllmm_tf; make the file again"  # the checksum was right


def save(model_file, path, max_pixels=container.MAX_PIXELS):
    """Writes the model as a SavedModel with the signatures `SIGNATURES`.

    Args:
        model_file: `gllmm_tf.model_file.ModelFile`.
        path: Folder to write.
        max_pixels: The largest width x height that `decompress` accepts.
    """
    module = ExportedCodec(model_file, max_pixels)
    signatures = {name: getattr(module, name) for name in SIGNATURES}
    tf.saved_model.save(module, path, signatures=signatures)


class ExportedCodec(tf.Module):
    """What a SavedModel holds: four graphs and the float weights they read.

    `quality` is a float32 scalar in 1..Q, rounded to a sixteenth as in the codec; the graphs of a
    fixed-rate model have no such input. Every graph returns a dict of one tensor.

    Attributes:
        compress: (image uint8 [H, W, 3], quality) -> {"data": string}, the bytes of a file.
        decompress: (data string) -> {"image": uint8 [H, W, 3]}.
        analysis: (x float32 [B, H, W, 3] in 0..1, H and W multiples of 16, quality)
            -> {"y": float32 [B, H/16, W/16, N]}, the latent that the codec rounds.
        synthesis: (y_hat float32 [B, h, w, N], quality)
            -> {"x_hat": float32 [B, 16 h, 16 w, 3]}, not clipped.

    Bad input raises `tf.errors.InvalidArgumentError` with the line that the codec would give.
    """

    def __init__(self, model_file, max_pixels=container.MAX_PIXELS):
        super().__init__(name="gllmm_tf")
        codec = Codec(model_file)
        n, stages = codec.config.num_filters, codec.config.stages
        highest = codec.num_qualities
        networks = {
            "g_a": AnalysisTransform(n, stages),
            "h_a": HyperAnalysisTransform(n),
            "g_s": SynthesisTransform(n, stages),
        }
        for part, network in networks.items():
            network(tf.zeros([1, IMAGE_MULTIPLE, IMAGE_MULTIPLE, 3 if part == "g_a" else n]))
            model_file.assign(part, network)
        g_a, h_a, g_s = networks.values()
        gain_vectors = codec._gain_vectors()

        def compress(image, quality=None):
            index = _quality_index(quality, highest)
            size = tf.shape(image)[:2]
            image = _require(
                tf.reduce_all(size > 0), ["a picture has at least one pixel, not ", size], image
            )
            gain_y, _, gain_z = gain_vectors(index)
            y = g_a(tf.cast(_pad(image), tf.float32)[None] / 255.0) * gain_y
            z = h_a(y) * gain_z
            latents = _require(
                tf.reduce_all([tf.reduce_all(tf.abs(t) < MAX_LATENT) for t in (y, z)]),
                ["the model's latents are not finite for this picture; use another model"],
                [tf.cast(tf.round(t[0]), tf.float64) for t in (y, z)],
            )
            z_stream, y_stream = codec._encode(*latents, index)
            return {"data": pack(codec.identity, size, index, z_stream, y_stream)}

        def decompress(data):
            size, index, z_stream, y_stream = unpack(
                data, codec.identity, max_pixels, QUALITY_STEPS * ((highest or 1) - 1)
            )
            z_hat = codec._decode_z(z_stream, -(-size // IMAGE_MULTIPLE))
            y_hat, sane = codec._decode_y(z_hat, y_stream, index)
            y_hat = _require(
                sane,
                ["the streams are damaged although the checksum fits; make the file again"],
                y_hat,
            )
            _, inverse_y, _ = gain_vectors(index)
            x_hat = g_s(tf.cast(y_hat, tf.float32)[None] * inverse_y)[0, : size[0], : size[1]]
            image = tf.cast(tf.round(255.0 * tf.clip_by_value(x_hat, 0.0, 1.0)), tf.uint8)
            return {"image": tf.ensure_shape(image, [None, None, 3])}

        def analysis(x, quality=None):
            gain_y, _, _ = gain_vectors(_quality_index(quality, highest))
            return {"y": g_a(x) * gain_y}

        def synthesis(y_hat, quality=None):
            _, inverse_y, _ = gain_vectors(_quality_index(quality, highest))
            return {"x_hat": g_s(y_hat * inverse_y)}

        rate = [tf.TensorSpec([], tf.float32, "quality")] if highest else []
        self.compress = _graph(compress, tf.TensorSpec([None, None, 3], tf.uint8, "image"), *rate)
        self.decompress = _graph(decompress, tf.TensorSpec([], tf.string, "data"))
        x = tf.TensorSpec([None, None, None, 3], tf.float32, "x")
        self.analysis = _graph(analysis, x, *rate)
        y_hat = tf.TensorSpec([None, None, None, n], tf.float32, "y_hat")
        self.synthesis = _graph(synthesis, y_hat, *rate)
        # Variables alone: a Keras layer would be saved with graphs of its own.
        graphs = [getattr(self, name).get_concrete_function() for name in SIGNATURES]
        self.weights = list({v.ref(): v for graph in graphs for v in graph.variables}.values())


def pack(identity, size, index, z_stream, y_stream):
    """`container.pack` without metadata as a graph: string scalar.

    identity: 8 bytes. size: int32 [height, width]. index: int32 scalar. Streams: string scalars.
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
    """`container.unpack` and the codec's checks as a graph, in the order of docs/format.md.

    Metadata are checked and skipped.

    Args:
        data: string scalar, the whole file.
        identity: 8 bytes, the model's.
        max_pixels: The largest width x height accepted.
        max_index: The model's largest quality index.

    Returns:
        (size int32 [height, width], quality index int32, z stream, y stream).
    """
    data = _require(
        tf.equal(_first(data, 4), _first(container.MAGIC, tf.strings.length(data))),
        [
            "not a .gllmm file: it begins with ",
            _hex(_first(data, 4)),
            f" instead of {container.MAGIC.hex(' ')}",
        ],
        data,
    )
    version = tf.io.decode_raw(data, tf.uint8)[4:5]  # the length is checked next
    data = _require(
        tf.reduce_all(version == container.VERSION),
        ["format version ", version, f", this model reads {container.VERSION}: export a newer one"],
        data,
    )
    length = tf.strings.length(data)
    data = _require(
        length >= _MIN_SIZE,
        ["cut short after ", length, f" bytes; the smallest file has {_MIN_SIZE}: {_COPY_AGAIN}"],
        data,
    )
    end = length - 4
    stored = tf.cast(tf.io.decode_raw(data, tf.uint8)[end:], tf.int64)
    data = _require(
        tf.equal(crc32(_first(data, end)), tf.reduce_sum(stored * 256 ** np.arange(4))),
        [f"cut short or damaged, its checksum does not match: {_COPY_AGAIN}"],
        data,
    )
    octets = tf.cast(tf.io.decode_raw(data, tf.uint8)[:end], tf.int32)
    flags, index = octets[5], octets[6]
    octets = _require(
        flags <= container.FLAG_METADATA,
        ["unknown flags ", flags, ": the file uses a feature this model does not know"],
        octets,
    )
    width, at = _read_varint(octets, tf.constant(_HEADER_BYTES), "width")
    height, at = _read_varint(octets, at, "height")
    size = tf.stack([height, width])
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    declared = ["declares a picture of ", width, " x ", height, " pixels, "]
    size = _require(pixels > 0, [*declared, f"neither may be 0: {_BAD_WRITER}"], size)
    size, at = _require(
        pixels <= max_pixels,
        [*declared, f"more than the limit of {max_pixels} of this exported model"],
        (size, at),
    )
    z_length, at = _read_varint(octets, at, "z stream length")
    at = tf.cond(flags > 0, lambda: _skip_metadata(octets, at), lambda: at)
    at = _require_room(octets, at, z_length, "z stream")
    writer = tf.strings.substr(data, 7, 8)
    size, at = _require(
        tf.equal(writer, identity),
        ["written by model ", _hex(writer, ""), f", not by this one ({identity.hex()})"],
        (size, at),
    )
    size, at = _require(
        index <= max_index,
        ["quality index ", index, " is beyond the model's range; make the file again"],
        (size, at),
    )
    z_stream = tf.strings.substr(data, at, z_length)
    y_stream = tf.strings.substr(data, at + z_length, end - at - z_length)
    return size, index, z_stream, y_stream


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


def _graph(function, *signature):
    return tf.function(function, input_signature=signature, autograph=False)


def _quality_index(quality, highest):
    """int32 scalar: sixteenths of a quality step above quality 1."""
    if highest is None:
        return tf.constant(0)
    quality = _require(
        tf.logical_and(quality >= 1.0, quality <= highest),  # neither holds for NaN
        ["quality is ", quality, f", it must be from 1 to {highest}"],
        quality,
    )
    return tf.cast(tf.round((quality - 1.0) * QUALITY_STEPS), tf.int32)


def _pad(image):
    """Reflects at the right and bottom to multiples of 64, again and again if the picture is smaller.

    `tf.pad` reflects once at most.
    """
    for axis in range(2):
        size = tf.shape(image)[axis]
        period = tf.maximum(2 * (size - 1), 1)
        place = tf.range(-(-size // IMAGE_MULTIPLE) * IMAGE_MULTIPLE) % period
        image = tf.gather(image, tf.minimum(place, period - place) % size, axis=axis)
    return image


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
    return _require(
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
    at = _require(count > 0, [f"announces metadata but holds none: {_BAD_WRITER}"], at)

    def skip(i, previous, at):
        at = _require_room(octets, at, 1, "metadata tag")
        tag = octets[at]
        at = _require(
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
    return _require(length <= left, [*message, _BAD_WRITER], at)


def _require(good, message, values):
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
