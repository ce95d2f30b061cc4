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

from gllmm_tf import work
from gllmm_tf.codec.regions import MAX_LATENT
from gllmm_tf.coding import tables
from gllmm_tf.coding.latent_coder import LatentCoder
from gllmm_tf.config import HYPER_STRIDE, IMAGE_MULTIPLE, LATENT_STRIDE, QUALITY_STEPS
from gllmm_tf.export import container_graph, padding_graph
from gllmm_tf.export.container_graph import require
from gllmm_tf.export.folders import check_folder, new_folder
from gllmm_tf.files.container import MAX_PIXELS_FOR_OTHERS
from gllmm_tf.layers.precision import in_float32
from gllmm_tf.model.compression import CompressionModel

SIGNATURES = ("compress", "decompress", "analysis", "synthesis")
MAX_PIXELS = MAX_PIXELS_FOR_OTHERS  # `decompress` has no tiles: memory grows with the picture


def save(model_file, path, max_pixels=MAX_PIXELS):
    """Writes the model as a SavedModel with the signatures `SIGNATURES`.

    Args:
        model_file: `gllmm_tf.zoo.model_file.ModelFile`.
        path: Folder to write; new, or empty.
        max_pixels: The largest width x height that `decompress` accepts.

    Raises:
        ModelError: the folder holds something already, or the weights do not fit the configuration.
    """
    model_file.check_of_pictures()
    check_folder(path)
    module = build_module(model_file, max_pixels)
    signatures = {name: getattr(module, name) for name in SIGNATURES}
    with new_folder(path) as folder:
        tf.saved_model.save(module, folder, signatures=signatures)


def build_module(model_file, max_pixels=MAX_PIXELS):
    """The `tf.Module` that is saved: the graphs of an `ExportedCodec` and the variables they read."""
    functions = ExportedCodec(model_file, max_pixels)
    n = model_file.config.num_filters
    rate = [tf.TensorSpec([], tf.float32, "quality")] if model_file.config.num_qualities else []
    signatures = {
        "compress": [tf.TensorSpec([None, None, 3], tf.uint8, "image"), *rate],
        "decompress": [tf.TensorSpec([], tf.string, "data")],
        "analysis": [tf.TensorSpec([None, None, None, 3], tf.float32, "x"), *rate],
        "synthesis": [tf.TensorSpec([None, None, None, n], tf.float32, "y_hat"), *rate],
    }
    module = tf.Module(name="gllmm_tf")
    variables = {}
    for name in SIGNATURES:
        graph = tf.function(
            getattr(functions, name), input_signature=signatures[name], autograph=False
        )
        variables.update((v.ref(), v) for v in graph.get_concrete_function().variables)
        setattr(module, name, graph)
    # Variables alone: a Keras layer would be saved with graphs of its own.
    module.weights = list(variables.values())
    return module


class ExportedCodec:
    """The functions of a SavedModel, made of TensorFlow operations alone.

    `quality` is a float32 scalar in 1..Q, rounded to a sixteenth as in the codec; a fixed-rate model
    has no such argument. Every function returns a dict of one tensor. Bad input raises
    `tf.errors.InvalidArgumentError` with a line that says what is wrong.

    Attributes:
        networks: `float_networks` of the model.
    """

    def __init__(self, model_file, max_pixels=MAX_PIXELS):
        self._coder = LatentCoder(model_file)
        self._identity = model_file.identity
        self.networks = float_networks(model_file)
        self._max_pixels = max_pixels
        self._least_bits = tables.least_bits(model_file.exact["z/cdf"])

    def compress(self, image, quality=None):
        """image uint8 [H, W, 3] -> {"data": string}, the bytes of a file."""
        index = self._quality_index(quality)
        size = tf.shape(image)[:2]
        image = require(
            tf.reduce_all(size > 0), ["a picture has at least one pixel, not ", size], image
        )
        image = require(
            container_graph.counted_pixels(size) <= self._max_pixels,
            ["a picture of ", size, f" pixels has more than the limit of {self._max_pixels}"],
            image,
        )
        gain_y, _, gain_z = self._gains(index)
        x = tf.cast(padding_graph.pad(image)[None], tf.float32) * np.float32(1 / 255)  # as in Codec
        y = _run(self.networks.g_a, x) * gain_y
        z = _run(self.networks.h_a, y) * gain_z
        y_hat, z_hat = require(
            tf.reduce_all([tf.reduce_all(tf.abs(t) < MAX_LATENT) for t in (y, z)]),
            ["the model's latents are not finite for this picture; use another model"],
            [tf.cast(tf.round(t[0]), tf.float64) for t in (y, z)],
        )
        z_stream = self._coder.write_z(z_hat)
        y_stream = self._coder.write_y(y_hat, z_hat, index)
        data = container_graph.pack(self._identity, size, index, z_stream, y_stream)
        return {"data": data}

    def decompress(self, data):
        """data string -> {"image": uint8 [H, W, 3]}."""
        size, index, z_stream, y_stream = container_graph.unpack(
            data, self._identity, self._max_pixels, self._coder.highest_index
        )
        shape = self._shape_of_z(size, z_stream)
        z_hat = self._coder.read_z(z_stream, shape)
        y_hat, sane = self._coder.read_y(z_hat, y_stream, index)
        y_hat = require(
            sane, ["the streams are damaged although the checksum fits; make the file again"], y_hat
        )
        _, inverse_y, _ = self._gains(index)
        x_hat = _run(self.networks.g_s, tf.cast(y_hat, tf.float32)[None] * inverse_y)
        x_hat = x_hat[0, : size[0], : size[1]]
        image = tf.cast(tf.round(255.0 * tf.clip_by_value(x_hat, 0.0, 1.0)), tf.uint8)
        return {"image": tf.ensure_shape(image, [None, None, 3])}

    def analysis(self, x, quality=None):
        """x float32 [B, H, W, 3] in 0..1, H and W multiples of 16
        -> {"y": float32 [B, H/16, W/16, N]}, the latent that the codec rounds."""
        gain_y, _, _ = self._gains(self._quality_index(quality))
        size = tf.shape(x)[1:3]
        good = tf.logical_and(size > 0, size % LATENT_STRIDE == 0)
        message = ["height and width must be multiples of ", LATENT_STRIDE, ", not ", size]
        return {"y": _run(self.networks.g_a, require(tf.reduce_all(good), message, x)) * gain_y}

    def synthesis(self, y_hat, quality=None):
        """y_hat float32 [B, h, w, N] -> {"x_hat": float32 [B, 16 h, 16 w, 3]}, not clipped."""
        _, inverse_y, _ = self._gains(self._quality_index(quality))
        return {"x_hat": _run(self.networks.g_s, y_hat * inverse_y)}

    def _shape_of_z(self, size, z_stream):
        """int32 [rows, columns], from a stream that can be long enough for them."""
        shape = -(-size // IMAGE_MULTIPLE)
        bits = self._least_bits * tf.cast(tf.reduce_prod(tf.cast(shape, tf.int64)), tf.float64)
        have = tf.strings.length(z_stream)
        return require(
            tf.cast(have + work.END_BYTES, tf.float64) >= tf.floor(bits / 8),
            [
                "the z stream of ",
                have,
                " bytes is too short for ",
                size,
                " pixels (height x width)",
            ],
            shape,
        )

    def _quality_index(self, quality):
        """int32 scalar: sixteenths of a quality step above the lowest quality."""
        qualities = self._coder.config.qualities
        if not qualities:
            return tf.constant(0)
        lowest, highest = qualities[0], qualities[-1]
        quality = require(
            tf.logical_and(quality >= lowest, quality <= highest),  # neither holds for NaN
            ["quality is ", quality, f", it must be from {lowest} to {highest}"],
            quality,
        )
        return tf.cast(tf.round((quality - lowest) * QUALITY_STEPS), tf.int32)

    def _gains(self, index):
        """(y, y inverse, z) of a quality index, [1, 1, 1, N] or 1."""
        if self.networks.gains is None:
            return 1.0, 1.0, 1.0
        return self.networks.gains(1.0 + tf.cast(index, tf.float32)[None] / QUALITY_STEPS)[:3]


def _run(transform, x):
    """The transform, fenced off from what is around it.

    TensorFlow rewrites sums and products of neighbouring operations, which then round otherwise. The
    codec runs a transform as a graph of its own (`codec/tensorflow_tiling.py`), so nothing may be moved
    across its ends here, or pixels would differ. EnsureShape is an operation that the optimiser leaves in
    its place.
    """
    x = tf.ensure_shape(x, [None, None, None, x.shape[-1]])
    for layer in transform.path:
        x = layer(x)
    return tf.ensure_shape(x, [None, None, None, x.shape[-1]])


@in_float32()
def float_networks(model_file):
    """A `CompressionModel` whose g_a, h_a, g_s and gains are built and hold the file's weights.

    The other parts, which the codec evaluates in fixed point, are not built.
    """
    model = CompressionModel(model_file.config)
    n = model_file.config.num_filters
    model.h_a(model.g_a(tf.zeros([1, IMAGE_MULTIPLE, IMAGE_MULTIPLE, 3])))
    model.g_s(tf.zeros([1, HYPER_STRIDE, HYPER_STRIDE, n]))
    parts = ["g_a", "h_a", "g_s"]
    if model.gains is not None:
        model.gains(tf.ones([1]))
        parts.append("gains")
    for part in parts:
        model_file.assign(part, getattr(model, part))
    return model
