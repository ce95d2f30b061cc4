"""Pixels to the bytes of a `.gllmm` file and back.

```
x --pad--> g_a --gain--> y --round--> y_hat --> diagonal coder --> y stream -.
                          `--h_a--> z --round--> z_hat --> tfc --> z stream --+--> container
container --> z stream --> z_hat --> phi --> diagonal coder <-- y stream
                                                  `--> y_hat --> g_s --> crop --> x_hat
```

The symbols are exact on every machine; the pixels are float32 results, rounded to 8 bits.

Large pictures go through the transforms in tiles (`gllmm_tf/codec/tiling.py`), which takes bounded memory.
An encoder that worked in tiles may round a latent that lies on a tie otherwise than one that did not;
either file decodes to its encoder's symbols, with and without tiles.
"""

import collections
import contextlib
import functools
import threading
import time

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from gllmm_tf.codec import padding, refinement
from gllmm_tf.codec.refinement import Refiner
from gllmm_tf.codec.tiling import Span, TiledTransform
from gllmm_tf.coding import symbols, wavefront
from gllmm_tf.coding.fixed_point import QUALITY_STEPS, FixedPointNetworks
from gllmm_tf.config import HYPER_STRIDE, IMAGE_MULTIPLE, LATENT_STRIDE
from gllmm_tf.errors import FormatError, ImageError, ModelError
from gllmm_tf.files import container
from gllmm_tf.model.compression import Gains
from gllmm_tf.model.transforms import AnalysisTransform, HyperAnalysisTransform, SynthesisTransform
from gllmm_tf.zoo.registry import read_model

DEFAULT_QUALITY = 4.0
DEFAULT_MEMORY = 1000  # MB that the transforms may take for a tile
# The coder takes |y - centre| below 2^29; trained latents stay below a few hundred.
MAX_LATENT = 2.0**24

INFORMATION_POSITIONS = 256  # of y at once, where information is summed
SHOWN_POSITIONS = 4096  # of y, from which on coding it has a progress bar

_MEGABYTE = 1 << 20
_BYTE = np.float32(1 / 255)

_F64 = tf.float64
_INDEX = tf.TensorSpec([], tf.int32)  # a quality index

Encoded = collections.namedtuple("Encoded", "data seconds latents")
Encoded.__doc__ = """One coded picture.

data: bytes of the file. seconds: {stage: seconds}. latents: (y_hat, z_hat), float32 integers.
"""
Decoded = collections.namedtuple("Decoded", "image metadata quality seconds latents")
Decoded.__doc__ = """One decoded picture.

image: uint8 [H, W, 3]. metadata: {tag: bytes} of the container, of the whole picture. quality: float
or None. seconds: {stage: seconds}. latents: (y_hat, z_hat), float32 integers.
"""


class Codec:
    """A loaded model, for any number of threads: each stage works on one picture at a time.

    Args:
        model_file: `ModelFile`.
        tile: Pixels of a tile along the longer side of a picture (rounded up to a multiple of 64); 0
            chooses the length by `memory`. A tile is as wide as the picture's shorter side.
        memory: Megabytes that g_a and g_s may take for a tile, about, beside TensorFlow, the picture
            and its latents. A picture that fits is one tile.

    Attributes:
        config: `ModelConfig`.
        info: Facts about the model's training.
        identity: 8 bytes that stand in every file this model writes.
    """

    def __init__(self, model_file, tile=0, memory=DEFAULT_MEMORY):
        self._file = model_file
        self._tile = tile
        self._memory = memory * _MEGABYTE
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
        encode, decode = (
            functools.partial(function, tell=self._tell)
            for function in (self._encode_latents, self._decode_latent)
        )
        self._encode_shown = _graph(encode, latent, latent, _INDEX)
        self._decode_y_shown = _graph(decode, latent, string, _INDEX)
        self._bar = None  # of the picture whose y is being coded
        self._phi = _graph(self.networks.hyper_synthesis, latent, _INDEX)
        self._information = _graph(self._information_bits, latent, latent, _INDEX)
        # Threads that share a graph, with pictures of different shapes, can crash TensorFlow 2.14.
        stages = "analysis", "refinement", "entropy coding", "entropy decoding", "synthesis"
        self._turn = {stage: threading.Lock() for stage in (*stages, "information")}

    @classmethod
    def load(cls, name_or_path=None, **settings):
        """The default model, a shipped model by name, or a model file or training run by path.

        `settings` are `tile` and `memory`.
        """
        return cls(read_model(name_or_path), **settings)

    @property
    def num_qualities(self):
        """Integer qualities 1..Q, or None for a fixed-rate model."""
        return self.config.num_qualities

    def compress(self, image, quality=None, refine=0):
        """uint8 [H, W, 3] to the bytes of a file.

        quality: 1..Q in sixteenths, None for the default. refine: See `encode`.
        """
        return self.encode(image, quality, refine=refine).data

    def decompress(self, data, max_pixels=container.MAX_PIXELS, crop=None):
        """Bytes of a file to uint8 [H, W, 3], or to the region `crop` of it: (x, y, width, height).

        Raises:
            FormatError: damaged, foreign or too large. ModelError: another model's file. ImageError:
            the region is not inside the picture.
        """
        return self.decode(data, max_pixels, crop).image

    def encode(self, image, quality=None, metadata=None, progress=None, refine=0):
        """Like `compress`, with everything known on the way.

        Args:
            image: uint8 [H, W, 3], any size from 1 x 1.
            quality: 1..Q for a variable-rate model (rounded to a sixteenth), else None.
            metadata: {tag: bytes} for the container.
            progress: Makes a progress bar for a large picture's stage, as `tqdm(total=, desc=)` does.
            refine: Rounds of descent on the latents (`gllmm_tf/codec/refinement.py`): a smaller file for the
                same quality. Ten are a good number; each costs a gradient through g_s and the
                entropy model.

        Returns:
            `Encoded`.

        Raises:
            ImageError: not such a picture. ModelError: the quality is not the model's, or the model
            cannot be used for this.
        """
        image = _check_image(image)
        index = self._quality_index(quality)
        clock = _Clock()
        height, width = image.shape[:2]
        with self._turn["analysis"]:
            y, z = self._analyse(image, index, progress)
        z_hat = np.round(z)
        clock.lap("analysis")
        if refine:
            with self._turn["refinement"]:
                y_hat = self._refined(image, y, z_hat, index, refine, progress)
            clock.lap("refinement")
        else:
            y_hat = np.round(y)
        exact = (tf.constant(latent, _F64) for latent in (y_hat, z_hat))
        bar = self._coding_bar("entropy coding", z_hat, progress)
        with self._turn["entropy coding"], bar as shown:
            encode = self._encode_shown if shown else self._encode
            z_string, y_string = (s.numpy() for s in encode(*exact, index))
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

    def decode(self, data, max_pixels=container.MAX_PIXELS, crop=None, progress=None):
        """Like `decompress`, with everything known on the way. Returns `Decoded`.

        progress: Makes a progress bar for a large picture's stage, as `tqdm(total=, desc=)` does.
        """
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
        region = _check_crop(crop, parts.width, parts.height)
        padded = [-(-size // IMAGE_MULTIPLE) for size in (parts.height, parts.width)]
        clock.lap("container")
        try:
            with self._turn["entropy decoding"]:
                z_hat = self._decode_z(parts.z_stream, padded)
                with self._coding_bar("entropy decoding", z_hat, progress) as shown:
                    decode_y = self._decode_y_shown if shown else self._decode_y
                    y_hat, sane = decode_y(z_hat, parts.y_stream, index)
                    sane = bool(sane.numpy())
        except tf.errors.OpError as error:
            raise FormatError(f"the streams cannot be decoded ({_first_line(error)})") from None
        if not sane:
            raise FormatError(
                "the streams are damaged although the checksum fits; make the file again"
            )
        y_hat, z_hat = (tf.cast(latent, tf.float32).numpy() for latent in (y_hat, z_hat))
        clock.lap("entropy decoding")
        shape = parts.height, parts.width
        with self._turn["synthesis"]:
            image = self._synthesise(y_hat, index, shape, region, progress)
        clock.lap("synthesis")
        quality = 1 + index / QUALITY_STEPS if self.num_qualities else None
        return Decoded(image, parts.metadata, quality, clock.seconds, (y_hat, z_hat))

    def information_bits(self, latents, quality=None):
        """-log2 of the exact model's probability of y_hat given z_hat, in bits, without any coder."""
        index = self._quality_index(quality)
        with self._turn["information"]:
            return float(self._information(*latents, index))

    def reconstruct(self, latents, shape, quality=None):
        """The picture that a decoder will show for `Encoded.latents`; shape: (height, width)."""
        index = self._quality_index(quality)
        with self._turn["synthesis"]:
            return self._synthesise(latents[0], index, shape)

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
    def _analysis(self):
        """g_a and h_a."""
        n, stages, widths = self.config.num_filters, self.config.stages, self.config.trunk_widths
        g_a, h_a = AnalysisTransform(n, stages, widths), HyperAnalysisTransform(n)
        tiled = (
            TiledTransform(g_a.path, tf.zeros([1, LATENT_STRIDE, LATENT_STRIDE, 3])),
            TiledTransform(h_a.path, tf.zeros([1, HYPER_STRIDE, HYPER_STRIDE, n])),
        )
        self._file.assign("g_a", g_a)
        self._file.assign("h_a", h_a)
        return tiled

    @functools.cached_property
    def _synthesis(self):
        """g_s."""
        n = self.config.num_filters
        g_s = SynthesisTransform(n, self.config.stages, self.config.trunk_widths)
        tiled = TiledTransform(g_s.path, tf.zeros([1, 1, 1, n]))
        self._file.assign("g_s", g_s)
        return tiled

    @functools.cached_property
    def _gains(self):
        """A function from a quality index to (y, y inverse, z), [1, 1, 1, N] or 1."""
        if not self.config.lambdas:
            return lambda index: (1.0, 1.0, 1.0)
        gains = Gains(self.config.lambdas, self.config.num_filters)
        gains(tf.ones([1]))
        self._file.assign("gains", gains)
        return lambda index: gains(tf.constant([1.0 + index / QUALITY_STEPS]))[:3]

    @functools.cached_property
    def _refiner(self):
        return Refiner(self._file)

    def _analyse(self, image, index, progress=None):
        """Returns y [h, w, N] and z [h / 4, w / 4, N], float32, not rounded."""
        g_a, h_a = self._analysis
        gain_y, _, gain_z = self._gains(index)
        size, read_x = _reader(image)
        n = self.config.num_filters

        def read_y(r, c):
            return tf.constant(y[None, r.start : r.stop, c.start : c.stop])

        y = np.empty([*(length // LATENT_STRIDE for length in size), n], np.float32)
        for r, c, part in self._tiles(g_a, read_x, size, 1, None, "analysis", progress):
            y[r.start : r.stop, c.start : c.stop] = (part * gain_y)[0]
        size = y.shape[:2]
        z = np.empty([*(length // HYPER_STRIDE for length in size), n], np.float32)
        for r, c, part in self._tiles(h_a, read_y, size, LATENT_STRIDE):
            z[r.start : r.stop, c.start : c.stop] = (part * gain_z)[0]
        for latent in (y, z):
            if not (latent.min() > -MAX_LATENT and latent.max() < MAX_LATENT):
                raise ModelError(
                    "the model's latents are not finite for this picture; use another model"
                )
        return y, z

    def _refined(self, image, y, z_hat, index, rounds, progress):
        """Returns y_hat of `Refiner.refine`."""
        phi = self._phi(tf.constant(z_hat, _F64), index).numpy()
        gain = np.ones(self.config.num_filters, np.float32) * self._gains(index)[1]
        total = rounds * len(refinement.blocks(y.shape[:2]))
        shown = progress is not None
        with progress(total=total, desc="refinement") if shown else contextlib.nullcontext() as bar:
            return self._refiner.refine(
                read_x=_reader(image)[1],
                size=image.shape[:2],
                y=y,
                phi=phi,
                inverse_gain=np.reshape(gain, [1, 1, 1, -1]),
                index=index,
                rounds=rounds,
                tell=bar.update if shown else None,
            )

    def _synthesise(self, y_hat, index, shape, region=None, progress=None):
        """uint8 [H, W, 3], or the part `region` of it.

        Args:
            y_hat: float32 [h, w, N].
            index: Quality index.
            shape: (H, W) of the picture.
            region: (rows, columns), two `Span`s, or None.
        """
        _, inverse_y, _ = self._gains(index)

        def read(r, c):
            return tf.constant(y_hat[None, r.start : r.stop, c.start : c.stop]) * inverse_y

        top, left = (span.start for span in region) if region else (0, 0)
        height, width = (span.stop - span.start for span in region) if region else shape
        image = np.empty([height, width, 3], np.uint8)
        size = y_hat.shape[:2]
        parts = self._tiles(
            self._synthesis, read, size, LATENT_STRIDE, region, "synthesis", progress
        )
        for r, c, part in parts:  # Padding reaches beyond `image`.
            place = image[r.start - top : r.stop - top, c.start - left : c.stop - left]
            place[:] = _to_uint8(part[0, : place.shape[0], : place.shape[1]])
        return image

    def _tiles(self, transform, read, size, stride, region=None, name="", progress=None):
        """`TiledTransform.tiles` with the tile that was chosen; `stride`: pixels per input sample."""
        multiple = IMAGE_MULTIPLE // stride
        if self._tile:
            length = -(-self._tile // IMAGE_MULTIPLE) * multiple
        else:
            length = transform.tile_length(size, self._memory, multiple)
        count = transform.num_tiles(size, length, region)
        shown = progress is not None and count > 1
        with progress(total=count, desc=name) if shown else contextlib.nullcontext() as bar:

            def read_and_tell(*spans):
                if shown:
                    bar.update()
                return read(*spans)

            yield from transform.tiles(read_and_tell, size, length, region)

    @contextlib.contextmanager
    def _coding_bar(self, name, z_hat, progress):
        """Yields whether coding y is shown by a bar, which `_tell` moves."""
        height, width = (HYPER_STRIDE * size for size in z_hat.shape[:2])
        if progress is None or height * width < SHOWN_POSITIONS:
            yield False
            return
        with progress(total=wavefront.num_steps(height, width), desc=name) as self._bar:
            try:
                yield True
            finally:
                self._bar = None

    def _tell(self, steps):
        """Puts the bar's movement by `steps`, an int32 scalar, into a graph."""
        tf.numpy_function(lambda steps: self._bar.update(int(steps)), [steps], [])

    def _encode_latents(self, y_hat, z_hat, index, tell=None):
        z_string = self._z_model.compress(tf.cast(z_hat, tf.float32)[None])[0]
        handle, _ = self._code(symbols.Encoder(), "", y_hat, z_hat, index, tell)
        return z_string, tfc.entropy_encode_finalize(handle)

    def _decode_hyper(self, z_string, shape):
        z_hat = self._z_model.decompress(z_string[None], shape)[0]
        return tf.cast(z_hat, _F64)

    def _decode_latent(self, z_hat, y_string, index, tell=None):
        y = tf.zeros(tf.shape(z_hat) * [HYPER_STRIDE, HYPER_STRIDE, 1], _F64)
        handle, y_hat = self._code(symbols.Decoder(), y_string, y, z_hat, index, tell)
        return y_hat, tfc.entropy_decode_finalize(handle)

    def _code(self, coder, string, y_hat, z_hat, index, tell):
        phi = self.networks.hyper_synthesis(z_hat, index)
        layout = self.config.families, self.config.components
        return wavefront.code_latent(coder, string, self.networks, *layout, phi, y_hat, index, tell)

    def integer_mixture(self, y_hat, z_hat, index):
        """`IntegerMixture` of all elements of y at once, in raster order, channels last."""
        latent = self._whole_latent(z_hat, index)
        positions = tf.range(tf.size(y_hat[..., 0]))
        return latent.mixture(latent.pad(y_hat), positions)[0]

    def _information_bits(self, y_hat, z_hat, index):
        latent = self._whole_latent(z_hat, index)
        cells, count = latent.pad(y_hat), tf.size(y_hat[..., 0])

        def body(first, bits):
            end = tf.minimum(first + INFORMATION_POSITIONS, count)
            mixture, y = latent.mixture(cells, tf.range(first, end))
            below, up_to = tf.unstack(mixture.below(y + tf.constant([[-0.5], [0.5]], _F64)))
            ratio = mixture.total / tf.maximum(up_to - below, 1.0)
            return end, bits + tf.reduce_sum(tf.math.log(ratio)) / np.log(2)  # bits

        start = (tf.constant(0), tf.constant(0.0, _F64))
        return tf.while_loop(lambda first, _: first < count, body, start, parallel_iterations=1)[1]

    def _whole_latent(self, z_hat, index):
        phi = self.networks.hyper_synthesis(z_hat, index)
        families, components = self.config.families, self.config.components
        channels = tf.range(self.config.num_filters)
        return wavefront.Latent(self.networks, families, components, phi, channels)


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


def _check_crop(crop, width, height):
    """(rows, columns) of the region (x, y, width, height), None for None."""
    if crop is None:
        return None
    x, y, w, h = crop
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        raise ImageError(
            f"the region {x},{y},{w},{h} (x,y,width,height) is not inside the picture of {width} x "
            f"{height} pixels"
        )
    return Span(y, y + h), Span(x, x + w)


def _reader(image):
    """How a picture is read with its padding, without a copy of all of it.

    Returns:
        (size, read): height and width with the padding, and a function of two spans or slices of
        them to float32 [1, rows, columns, 3] in 0..1.
    """
    height, width = image.shape[:2]
    right, bottom = (strip.numpy() for strip in padding.strips(image))

    def read(r, c):
        rows = slice(r.start, min(r.stop, height))
        beyond_rows, beyond_columns = (
            slice(max(span.start - length, 0), max(span.stop - length, 0))
            for span, length in ((r, height), (c, width))
        )
        part = np.concatenate([image[rows, c.start : c.stop], right[rows, beyond_columns]], 1)
        part = np.concatenate([part, bottom[beyond_rows, c.start : c.stop]], 0)
        return tf.cast(part[None], tf.float32) * _BYTE

    return (height + len(bottom), width + right.shape[1]), read


def _to_uint8(x_hat):
    return tf.cast(tf.round(255.0 * tf.clip_by_value(x_hat, 0.0, 1.0)), tf.uint8)


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
