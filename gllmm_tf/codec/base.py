"""What a codec does, whatever computes its networks: a picture to the bytes of a file and back.

```
image --networks--> y, z --round or search--> y_hat, z_hat --coder--> streams --container--> data
data --container--> streams --coder--> y_hat, z_hat --networks--> image
```

The symbols are exact on every machine; the pixels are float32 results, rounded to 8 bits. Nothing here
needs TensorFlow but the search: `tensorflow_codec.py` computes with it, `gllmm_tf/portable/codec.py`
without.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

import numpy as np

from gllmm_tf import work
from gllmm_tf.codec import backends, checks, layered, pixels, searching, stages, targets, wanted
from gllmm_tf.codec.encoding import Encoded, Encoding
from gllmm_tf.codec.regions import Crop, Progress, Region
from gllmm_tf.codec.scale import Scale
from gllmm_tf.coding import tables
from gllmm_tf.coding.streams import Coder, Latents, Streams
from gllmm_tf.config import HYPER_STRIDE, ModelConfig
from gllmm_tf.errors import FormatError, GllmmError, ModelError
from gllmm_tf.files import container, grey
from gllmm_tf.memory import Backend, Memory
from gllmm_tf.zoo import registry
from gllmm_tf.zoo.model_file import ModelFile
from gllmm_tf.zoo.registry import Continuation

if TYPE_CHECKING:
    from gllmm_tf.codec.refinement import Refiner


_SECOND_MODEL = 300  # megabytes that the networks of a second model take, about


class Decoded(NamedTuple):
    """One decoded picture.

    Attributes:
        image: uint8 [H, W, 3].
        metadata: {tag: bytes} of the container, of the whole picture.
        quality: That it was coded at, or None for a fixed rate.
        seconds: {stage: seconds}.
        latents: (y_hat, z_hat), float32 integers; with an enhancement layer y_hat is `layered.beside`.
    """

    image: np.ndarray
    metadata: dict[int, bytes]
    quality: float | None
    seconds: dict[str, float]
    latents: Latents


class Codec:
    """A loaded model, for any number of threads: each stage works on one picture at a time.

    `Codec.load` and `Codec.of` make one, of the class that belongs to the backend.

    The default is one scale of qualities over two models: above `Continuation.above` another one goes on,
    which is loaded when a picture or a file first asks for it. A file says which of them wrote it.

    Args:
        model_file: `ModelFile`.
        tile: Pixels of a tile along the longer side of a picture (rounded up to a multiple of 64); 0
            chooses the length by the memory that there is. A tile is as wide as the picture's shorter
            side.
        memory: Megabytes (2^20 bytes) that the whole process may take, about; what cannot fit is refused.
            None for what the system's limits leave. Or the `Memory` of another codec, to share it.
        continuation: The model that goes on above; None for a scale that is all this model's.
        base: For an enhancement layer: the codec of the model below; None to load it.

    Attributes:
        scale: Its qualities, over both models. What follows is of the model itself.
        config: `ModelConfig`.
        info: Facts about the model's training.
        identity: 8 bytes that stand in every file this model writes.
        model_file: `ModelFile`.
        base: For an enhancement layer: the codec of the model below; else None.
        networks: Pictures to latents and back.
        coder: Latents to streams and back.
    """

    networks: pixels.PixelNetworks
    coder: Coder

    needs: Backend

    def __init__(
        self,
        model_file: ModelFile,
        tile: int = 0,
        memory: int | Memory | None = None,
        continuation: Continuation | None = None,
        base: Codec | None = None,
    ):
        if type(self) is Codec:
            raise TypeError("make a codec by Codec.load or Codec.of, which choose its backend")
        self._tile = checks.check_count("tile", tile, 0)
        if not isinstance(memory, Memory):
            memory = Memory(self.needs, checks.check_count("memory", memory, 1))
        self.memory: Memory = memory
        self._process = os.getpid()
        self.model_file = model_file
        self.config: ModelConfig = model_file.config
        self.info: dict = model_file.info
        self.identity: bytes = model_file.identity
        self.search_turn = threading.Lock()
        self.scale = Scale(self.config, continuation, self._loaded)
        if self.config.base and not (base and base.identity.hex() == self.config.base):
            base = self._loaded(registry.find_model(bytes.fromhex(self.config.base)))
        self.base = base if self.config.base else None
        self.least_bits = tables.least_bits((self.base or self).model_file.exact["z/cdf"])

    def _make(self, model_file, tile, coder, networks, layered_networks):
        """Sets `coder` and `networks`, of a backend's classes."""
        own = coder(model_file)
        if self.base:
            self.coder = layered.LayeredCoder(own, self.base.coder)
            self.networks = layered_networks(model_file, tile, self.base.networks)
        else:
            self.coder, self.networks = own, networks(model_file, tile)

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike | None = None,
        *,
        backend: str = backends.AUTO,
        **settings: int,
    ) -> Codec:
        """The default, a shipped model by name, or a model file or training run by path.

        Args:
            name_or_path: None or "default" for the default, both its models; else it names one model.
            backend: "portable" (onnxruntime and NumPy), "tensorflow", or "auto": the portable one if
                onnxruntime is installed.
            **settings: `tile` and `memory`, see the class.

        Raises:
            ModelError: there is no such model, or it cannot be read.
            GllmmError: the backend is not installed.
        """
        stored, continuation = registry.read_scale(name_or_path)
        return cls.of(stored, backend=backend, continuation=continuation, **settings)

    @classmethod
    def of(cls, model_file: ModelFile, *, backend: str = backends.AUTO, **settings: Any) -> Codec:
        """Like `load`, of a model file that has been read; a backend's own class chooses no other."""
        make: Any = cls if cls is not Codec else backends.codec_class(backend)
        return make(model_file, **settings)

    @property
    def qualities(self) -> range:
        """The integer qualities, such as range(1, 9); empty for a fixed-rate model."""
        return self.scale.qualities

    @property
    def num_qualities(self) -> int | None:
        """How many integer qualities there are, or None for a fixed-rate model."""
        return len(self.qualities) or None

    def at_step(self, step: int) -> tuple[Codec, int]:
        """(the codec that has a quality, its quality index); step: see `Scale`."""
        codec, index = self.scale.place_of(step)
        return codec or self, index

    def codec_of(self, quality: float | None) -> Codec:
        """The codec of the model that has a quality: this one, or that of the higher qualities."""
        return self.at_step(self.scale.step_of(quality))[0]

    def _loaded(self, name: str) -> Codec:
        """The codec of another model, which has its memory in common with this one."""
        self.memory.set_aside(_SECOND_MODEL)
        return type(self)(registry.read_model(name), self._tile, memory=self.memory, base=self)

    @checks.eager
    def compress(
        self,
        image: np.ndarray | Sequence[np.ndarray],
        quality: float | None = None,
        *,
        target_size: int | str | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        metadata: Mapping[int, bytes] | None = None,
        refine: int = 0,
        progress: Progress | None = None,
    ) -> Any:
        """A picture to the bytes of a file, or several to a list of them.

        Args:
            image: uint8 [H, W, 3], any size from 1 x 1; or uint8 [B, H, W, 3], or a list of pictures.
            quality: One of `qualities` or between two, rounded to a sixteenth; None for the default,
                and for a fixed-rate model.
            target_size: Bytes that each file has at most, in place of a quality: the highest quality
                is taken that fits, metadata included. A number, or a text such as "200k" or "1.5M".
            target_bpp: The same in bits per pixel of the picture.
            target_psnr: dB that each decoded picture has at least: the smallest file is taken.
            metadata: {tag: bytes} for the container.
            refine: Rounds of descent on the latents (`gllmm_tf/codec/refinement.py`): a smaller file
                for the same quality. Ten are a good number; each costs a gradient through g_s and the
                entropy model.
            progress: Makes a progress bar for a large picture's stage, as `tqdm(total=, desc=)` does.

        Returns:
            bytes, or a list of bytes.

        Raises:
            ImageError: not such a picture, or no quality keeps the target. ModelError: the quality is
            not the model's, or the model cannot be used for this. OutOfMemoryError: there is too little
            memory. GllmmError: `refine` without TensorFlow.
        """
        options: dict[str, Any] = {
            "target_size": target_size,
            "target_bpp": target_bpp,
            "target_psnr": target_psnr,
            "metadata": metadata,
            "refine": refine,
            "progress": progress,
        }
        if isinstance(image, (list, tuple)) or getattr(image, "ndim", 3) == 4:
            image = [checks.check_image(one) for one in image]
            return [self.encode(one, quality, **options).data for one in image]
        return self.encode(cast(np.ndarray, image), quality, **options).data

    @overload
    def decompress(
        self,
        data: bytes,
        *,
        crop: Crop | None = ...,
        max_pixels: int = ...,
        progress: Progress | None = ...,
    ) -> np.ndarray: ...

    @overload
    def decompress(
        self,
        data: list[bytes] | tuple[bytes, ...],
        *,
        crop: Crop | None = ...,
        max_pixels: int = ...,
        progress: Progress | None = ...,
    ) -> list[np.ndarray]: ...

    @checks.eager
    def decompress(self, data, *, crop=None, max_pixels=container.MAX_PIXELS, progress=None):
        """Bytes of a file to a picture, or a list of them to a list of pictures.

        Args:
            data: Bytes of a file, or a list of such.
            crop: Region (x, y, width, height) in pixels to synthesise; None for all of the picture.
            max_pixels: The largest width x height that is decoded, a side below 64 counted as 64.
            progress: As in `compress`.

        Returns:
            uint8 [H, W, 3], or a list of such.

        Raises:
            FormatError: damaged, foreign or too large. ModelError: another model's file. ImageError:
            the region is not inside the picture. OutOfMemoryError: there is too little memory.
        """
        if isinstance(data, (list, tuple)):
            return [
                self.decompress(one, crop=crop, max_pixels=max_pixels, progress=progress)
                for one in data
            ]
        return self.decode(data, crop=crop, max_pixels=max_pixels, progress=progress).image

    @checks.eager
    def encode(
        self,
        image: np.ndarray,
        quality: float | None = None,
        *,
        target_size: int | str | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        metadata: Mapping[int, bytes] | None = None,
        refine: int = 0,
        progress: Progress | None = None,
    ) -> Encoded:
        """Like `compress` of one picture, with everything known on the way."""
        image = checks.check_image(image)
        target = wanted.chosen(target_size, target_bpp, target_psnr)
        wanted.check_beside_quality(target, quality)
        step = self.scale.step_of(quality)
        search = None
        metadata = checks.check_metadata(metadata)
        codec = self if target else self.at_step(step)[0]
        if checks.check_count("refine", refine, 0):
            _ = codec.refiner  # whatever is wrong with it comes ahead of all work
            search = functools.partial(searching.refined, rounds=refine, progress=progress)
        with codec.at_work(*image.shape[:2]):
            encoding = Encoding(self, image, grey.with_tag(metadata, image), search, progress)
            if target is None:
                return encoding.at(step)
            return targets.encode(encoding, target, self.scale.highest_step)

    @checks.eager
    def decode(
        self,
        data: bytes,
        *,
        crop: Crop | None = None,
        max_pixels: int = container.MAX_PIXELS,
        progress: Progress | None = None,
    ) -> Decoded:
        """Like `decompress` of one file, with everything known on the way."""
        clock = stages.Clock()
        data = checks.check_data(data)
        parts = container.unpack(data, checks.check_count("max_pixels", max_pixels, 0))
        codec = self.of_file(parts)
        checks.check_length(parts, codec.least_bits)
        region = checks.check_crop(crop, parts.width, parts.height)
        clock.lap("container")
        with codec.at_work(parts.height, parts.width):
            return codec.decode_parts(parts, region, progress, clock)

    def decode_parts(
        self,
        parts: container.Container,
        region: Region | None,
        progress: Progress | None,
        clock: stages.Clock,
    ) -> Decoded:
        """What `decode` does once the container is read and this is found to be the codec."""
        index = parts.quality_index
        rows, columns = work.blocks(parts.width, parts.height)
        streams = Streams(parts.z_stream, parts.y_stream)
        shape = HYPER_STRIDE * rows, HYPER_STRIDE * columns
        steps = self.coder.num_steps(*shape)
        bar = stages.coding_bar("entropy decoding", shape, steps, progress)
        with self.while_decoding(shape, region), bar as tell:
            latents = self.coder.decode(streams, (rows, columns), index, tell=tell)
        clock.lap("entropy decoding")
        size = parts.height, parts.width
        image = self.networks.synthesise(latents.y_hat, index, size, region, progress)
        if container.TAG_GREY in parts.metadata:
            image = grey.make_grey(image)
        clock.lap("synthesis")
        metadata, quality = dict(parts.metadata), self.config.quality_of(index)
        return Decoded(image, metadata, quality, clock.seconds, latents)

    def information_bits(self, latents: Latents, quality: float | None = None) -> float:
        """-log2 of the exact model's probability of y_hat given z_hat, in bits, without any coder."""
        codec, index = self.at_step(self.scale.step_of(quality))
        return codec.coder.information_bits(*latents, index)

    def reconstruct(
        self,
        latents: Latents,
        shape: tuple[int, int],
        quality: float | None = None,
        *,
        is_grey: bool = False,
    ) -> np.ndarray:
        """The picture that a decoder will show for `Encoded.latents`; shape: (height, width).

        Args:
            latents: Of the picture.
            shape: (height, width).
            quality: As in `encode`.
            is_grey: Whether the picture was grey, R = G = B, and so comes back grey.
        """
        codec, index = self.at_step(self.scale.step_of(quality))
        with codec.at_work(*shape):
            image = codec.networks.synthesise(latents[0], index, shape)
        return grey.make_grey(image) if is_grey else image

    def quality_index(self, quality: float | None) -> int:
        """The quality index that a file of this quality has: of the model that has the quality.

        Raises:
            ModelError: there is no such quality.
        """
        return self.at_step(self.scale.step_of(quality))[1]

    def check_quality(self, quality: float | None) -> None:
        """Raises ModelError where there is no such quality; loads nothing."""
        self.scale.step_of(quality)

    def of_file(self, parts: container.Container) -> Codec:
        """The codec of the model that wrote a file; raises if it is none of the scale's."""
        other = self.scale.other_codec(parts.model_id)
        if other:
            return other.of_file(parts)
        if parts.model_id != self.identity:
            raise ModelError(
                f"written by model {parts.model_id.hex()}, not by this one ({self.identity.hex()}); "
                "use that model",
                "model",
            )
        if parts.quality_index > self.coder.highest_index:
            raise FormatError(
                f"quality index {parts.quality_index} is beyond the model's range; make the file again"
            )
        return self

    @functools.cached_property
    def refiner(self) -> Refiner:
        """What searches for better latents, with TensorFlow whatever the backend; built on first use.

        Raises:
            GllmmError: TensorFlow is not installed, or the model cannot be used for this.
        """
        if self.base:
            return self.base.refiner
        backends.need_tensorflow("the refinement of latents, for its gradients,", "refine")
        from gllmm_tf.codec.refinement import Refiner

        return Refiner(self.model_file)

    def while_decoding(
        self, shape: tuple[int, int], region: Region | None
    ) -> contextlib.AbstractContextManager:
        """What surrounds the decoding of y_hat [*shape, N], for backends that prepare g_s meanwhile."""
        del shape, region
        return contextlib.nullcontext()

    @property
    def has_limited_memory(self) -> bool:
        """Whether the process may take only so much memory: several pictures at once may be too many."""
        return self.memory.is_limited

    def check_place(self) -> None:
        """Raises GllmmError where this codec cannot work."""
        if os.getpid() != self._process:
            raise GllmmError(
                "this codec was loaded by the process that forked this one, in which its threads are "
                "missing: load a codec in each process, or start processes with "
                "multiprocessing.get_context('spawn')"
            )

    def at_work(self, height: int, width: int) -> contextlib.AbstractContextManager:
        """Surrounds the work on a picture of this size: waits for its memory, or refuses it."""
        self.check_place()
        config, layer = (self.base.config, self.config) if self.base else (self.config, None)
        need = work.need(config, width, height, self._tile, layer)
        return self.memory.take(f"a picture of {width} x {height} pixels", *need)
