"""Pixels to the bytes of a `.gllmm` file and back.

```
x --pad--> g_a --gain--> y --round--> y_hat --> diagonal coder --> y stream -.
                          `--h_a--> z --round--> z_hat --> tfc --> z stream --+--> container
container --> z stream --> z_hat --> phi --> diagonal coder <-- y stream
                                                  `--> y_hat --> g_s --> crop --> x_hat
```

The symbols are exact on every machine; the pixels are float32 results, rounded to 8 bits.
"""

import collections
import functools
import time

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from gllmm_tf.coding import container, symbols, wavefront
from gllmm_tf.coding.fixed_point import QUALITY_STEPS, FixedPointNetworks
from gllmm_tf.coding.integer_mixture import IntegerMixture
from gllmm_tf.config import HYPER_STRIDE, IMAGE_MULTIPLE
from gllmm_tf.errors import FormatError, ImageError, ModelError
from gllmm_tf.model import Gains
from gllmm_tf.transforms import AnalysisTransform, HyperAnalysisTransform, SynthesisTransform
from gllmm_tf.zoo import read_model

DEFAULT_QUALITY = 4.0
# The coder takes |y - centre| below 2^29; trained latents stay below a few hundred.
MAX_LATENT = 2.0**24

_F64 = tf.float64
_INDEX = tf.TensorSpec([], tf.int32)  # a quality index

Encoded = collections.namedtuple("Encoded", "data seconds latents")
Encoded.__doc__ = """One coded picture.

data: bytes of the file. seconds: {stage: seconds}. latents: (y_hat, z_hat), float64 integers.
"""
Decoded = collections.namedtuple("Decoded", "image metadata quality seconds latents")
Decoded.__doc__ = """One decoded picture.

image: uint8 [H, W, 3]. metadata: {tag: bytes} of the container. quality: float or None.
seconds: {stage: seconds}. latents: (y_hat, z_hat), float64 integers.
"""


class Codec:
    """A loaded model. Reading from several threads is safe; nothing changes after loading.

    Attributes:
        config: `ModelConfig`.
        info: Facts about the model's training.
        identity: 8 bytes that stand in every file this model writes.
    """

    def __init__(self, model_file):
        self._file = model_file
        self.config = model_file.config
        self.info = model_file.info
        self.identity = model_file.identity
        exact = model_file.exact
        n = self.config.num_filters
        self.networks = FixedPointNetworks(exact, n, self.config.num_groups)
        self._z_model = tfc.ContinuousBatchedEntropyModel(
            prior_shape=(n,),
            coding_rank=3,
            compression=True,
            stateless=True,
            cdf=tf.constant(exact["z/cdf"]),
            cdf_offset=tf.constant(exact["z/offset"]),
            offset_heuristic=False,
        )
        latent = tf.TensorSpec([None, None, n], _F64)
        string = tf.TensorSpec([], tf.string)
        self._encode = _graph(self._encode_latents, latent, latent, _INDEX)
        self._decode_z = _graph(self._decode_hyper, string, tf.TensorSpec([2], tf.int32))
        self._decode_y = _graph(self._decode_latent, latent, string, _INDEX)
        self._information = _graph(self._information_bits, latent, latent, _INDEX)

    @classmethod
    def load(cls, name_or_path=None):
        """The default model, a shipped model by name, or a model file or training run by path."""
        return cls(read_model(name_or_path))

    @property
    def num_qualities(self):
        """Integer qualities 1..Q, or None for a fixed-rate model."""
        return self.config.num_qualities

    def compress(self, image, quality=None):
        """uint8 [H, W, 3] to the bytes of a file. quality: 1..Q in sixteenths, None for the default."""
        return self.encode(image, quality).data

    def decompress(self, data, max_pixels=container.MAX_PIXELS):
        """Bytes of a file to uint8 [H, W, 3].

        Raises:
            FormatError: damaged, foreign or too large. ModelError: another model's file.
        """
        return self.decode(data, max_pixels).image

    def encode(self, image, quality=None, metadata=None):
        """Like `compress`, with everything known on the way.

        Args:
            image: uint8 [H, W, 3], any size from 1 x 1.
            quality: 1..Q for a variable-rate model (rounded to a sixteenth), else None.
            metadata: {tag: bytes} for the container.

        Returns:
            `Encoded`.
        """
        image = _check_image(image)
        index = self._quality_index(quality)
        clock = _Clock()
        height, width = image.shape[:2]
        y, z = (t.numpy() for t in self._analyse(_pad(image), index))
        if not (np.all(np.abs(y) < MAX_LATENT) and np.all(np.abs(z) < MAX_LATENT)):
            raise ModelError(
                "the model's latents are not finite for this picture; use another model"
            )
        y_hat, z_hat = np.round(y).astype(np.float64), np.round(z).astype(np.float64)
        clock.lap("analysis")
        z_string, y_string = (s.numpy() for s in self._encode(y_hat, z_hat, index))
        clock.lap("entropy coding")
        data = container.pack(
            container.Container(
                model_id=self.identity,
                width=width,
                height=height,
                quality_index=index,
                z_stream=z_string,
                y_stream=y_string,
                metadata=dict(metadata or {}),
            )
        )
        clock.lap("container")
        return Encoded(data, clock.seconds, (y_hat, z_hat))

    def decode(self, data, max_pixels=container.MAX_PIXELS):
        """Like `decompress`, with everything known on the way. Returns `Decoded`."""
        clock = _Clock()
        parts = container.unpack(data, max_pixels)
        if parts.model_id != self.identity:
            raise ModelError(
                f"written by model {parts.model_id.hex()}, not by this one ({self.identity.hex()}); "
                "give the right --model"
            )
        index = parts.quality_index
        if index > QUALITY_STEPS * ((self.num_qualities or 1) - 1):
            raise FormatError(
                f"quality index {index} is beyond the model's range; make the file again"
            )
        padded = [-(-size // IMAGE_MULTIPLE) for size in (parts.height, parts.width)]
        clock.lap("container")
        try:
            z_hat = self._decode_z(parts.z_stream, padded)
            y_hat, sane = self._decode_y(z_hat, parts.y_stream, index)
            sane = bool(sane.numpy())
        except tf.errors.OpError as error:
            raise FormatError(f"the streams cannot be decoded ({_first_line(error)})") from None
        if not sane:
            raise FormatError(
                "the streams are damaged although the checksum fits; make the file again"
            )
        clock.lap("entropy decoding")
        image = self._synthesise(y_hat, index).numpy()[: parts.height, : parts.width]
        clock.lap("synthesis")
        quality = 1 + index / QUALITY_STEPS if self.num_qualities else None
        return Decoded(
            image, parts.metadata, quality, clock.seconds, (y_hat.numpy(), z_hat.numpy())
        )

    def information_bits(self, latents, quality=None):
        """-log2 of the exact model's probability of y_hat given z_hat, in bits, without any coder."""
        return float(self._information(*latents, self._quality_index(quality)))

    def reconstruct(self, latents, shape, quality=None):
        """The picture that a decoder will show for `Encoded.latents`; shape: (height, width)."""
        y_hat, _ = latents
        image = self._synthesise(y_hat, self._quality_index(quality)).numpy()
        return image[: shape[0], : shape[1]]

    def _quality_index(self, quality):
        if self.num_qualities is None:
            if quality is not None:
                raise ModelError("this model has one fixed rate: leave --quality away")
            return 0
        quality = min(DEFAULT_QUALITY, self.num_qualities) if quality is None else float(quality)
        if not 1 <= quality <= self.num_qualities:
            raise ModelError(f"quality is {quality:g}, it must be from 1 to {self.num_qualities}")
        return int(round((quality - 1) * QUALITY_STEPS))

    # The networks are built on first use, so that decoding does not wait for the encoder's, and before
    # their graphs are traced: weights assigned inside a trace would not be there outside.

    @functools.cached_property
    def _analyse(self):
        n, stages = self.config.num_filters, self.config.stages
        g_a, h_a = AnalysisTransform(n, stages), HyperAnalysisTransform(n)
        h_a(g_a(tf.zeros([1, IMAGE_MULTIPLE, IMAGE_MULTIPLE, 3])))
        self._file.assign("g_a", g_a)
        self._file.assign("h_a", h_a)
        gain_vectors = self._gain_vectors()

        def analyse(x, index):
            gain_y, _, gain_z = gain_vectors(index)
            y = g_a(x / 255.0) * gain_y
            z = h_a(y) * gain_z
            return y[0], z[0]

        return _graph(analyse, tf.TensorSpec([1, None, None, 3], tf.float32), _INDEX)

    @functools.cached_property
    def _synthesise(self):
        n = self.config.num_filters
        g_s = SynthesisTransform(n, self.config.stages)
        g_s(tf.zeros([1, HYPER_STRIDE, HYPER_STRIDE, n]))
        self._file.assign("g_s", g_s)
        gain_vectors = self._gain_vectors()

        def synthesise(y_hat, index):
            _, inverse_y, _ = gain_vectors(index)
            x_hat = g_s(tf.cast(y_hat, tf.float32)[None] * inverse_y)[0]
            return tf.cast(tf.round(255.0 * tf.clip_by_value(x_hat, 0.0, 1.0)), tf.uint8)

        return _graph(synthesise, tf.TensorSpec([None, None, n], _F64), _INDEX)

    def _gain_vectors(self):
        """A function from a quality index to (y, y inverse, z), [1, 1, 1, N] or 1."""
        if not self.config.lambdas:
            return lambda index: (1.0, 1.0, 1.0)
        gains = Gains(self.config.lambdas, self.config.num_filters)
        gains(tf.ones([1]))
        self._file.assign("gains", gains)
        return lambda index: gains(1.0 + tf.cast(index, tf.float32)[None] / QUALITY_STEPS)[:3]

    def _encode_latents(self, y_hat, z_hat, index):
        z_string = self._z_model.compress(tf.cast(z_hat, tf.float32)[None])[0]
        handle, _ = self._code(symbols.Encoder(), "", y_hat, z_hat, index)
        return z_string, tfc.entropy_encode_finalize(handle)

    def _decode_hyper(self, z_string, shape):
        z_hat = self._z_model.decompress(z_string[None], shape)[0]
        return tf.cast(z_hat, _F64)

    def _decode_latent(self, z_hat, y_string, index):
        shape = tf.shape(z_hat) * [HYPER_STRIDE, HYPER_STRIDE, 1]
        handle, y_hat = self._code(symbols.Decoder(), y_string, tf.zeros(shape, _F64), z_hat, index)
        return y_hat, tfc.entropy_decode_finalize(handle)

    def _code(self, coder, string, y_hat, z_hat, index):
        phi = self.networks.hyper_synthesis(z_hat, index)
        families, components = self.config.families, self.config.components
        return wavefront.code_latent(coder, string, self.networks, families, components, phi, y_hat)

    def integer_mixture(self, y_hat, z_hat, index):
        """`IntegerMixture` of all elements of y at once, in raster order, channels last."""
        phi = self.networks.hyper_synthesis(z_hat, index)
        flat = tf.reshape(phi, [-1, 2 * self.config.num_filters])
        params = self.networks.parameters(
            wavefront.all_contexts(y_hat),
            self.networks.phi_part(flat),
            self.networks.select(tf.range(self.config.num_filters)),
        )
        return IntegerMixture.from_parameters(params, self.config.families, self.config.components)

    def _information_bits(self, y_hat, z_hat, index):
        mixture = self.integer_mixture(y_hat, z_hat, index)
        y = tf.reshape(y_hat, [-1])
        mass = tf.maximum(mixture.below(y + 0.5) - mixture.below(y - 0.5), 1.0)
        return tf.reduce_sum(tf.math.log(mixture.total / mass)) / np.log(2)  # bits


def _graph(function, *signature):
    """One graph for all sizes. Without autograph, which takes most of the time of tracing."""
    return tf.function(function, input_signature=signature, autograph=False)


class _Clock:
    """Seconds per named stage."""

    def __init__(self):
        self.seconds = {}
        self._last = time.perf_counter()

    def lap(self, stage):
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def _check_image(image):
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"a picture is uint8 [height, width, 3], not {image.dtype} {list(image.shape)}"
        )
    return image


def _pad(image):
    """float32 [1, H', W', 3], reflected at the right and bottom to multiples of 64."""
    edges = [(0, -size % IMAGE_MULTIPLE) for size in image.shape[:2]]
    return np.pad(image, [*edges, (0, 0)], mode="reflect")[None].astype(np.float32)


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
