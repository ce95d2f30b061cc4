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
import math
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

import numpy as np

from gllmm_tf import work
from gllmm_tf.codec import backends, checks, pixels, stages, targets, wanted
from gllmm_tf.codec.encoding import Encoded, Encoding
from gllmm_tf.codec.regions import Crop, Progress, Region
from gllmm_tf.coding import tables
from gllmm_tf.coding.streams import Coder, Latents, Streams
from gllmm_tf.config import HYPER_STRIDE, QUALITY_STEPS, ModelConfig
from gllmm_tf.errors import FormatError, GllmmError, ModelError, running_out_of_memory
from gllmm_tf.files import container, grey
from gllmm_tf.memory import Backend, Memory
from gllmm_tf.zoo import registry
from gllmm_tf.zoo.model_file import ModelFile
from gllmm_tf.zoo.registry import Continuation

if TYPE_CHECKING:
    from gllmm_tf.codec.refinement import Refiner


_SECOND_MODEL = 200  # megabytes that the networks of a second model take, about


class Decoded(NamedTuple):
    """One decoded picture.

    Attributes:
        image: uint8 [H, W, 3].
        metadata: {tag: bytes} of the container, of the whole picture.
        quality: That it was coded at, or None for a fixed rate.
        seconds: {stage: seconds}.
        latents: (y_hat, z_hat), float32 integers.
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
            None for what the system's limits leave.
        continuation: The model that goes on above; None for a scale that is all this model's.

    Attributes:
        config: `ModelConfig` of the model, as all that follows.
        info: Facts about the model's training.
        identity: 8 bytes that stand in every file this model writes.
        model_file: `ModelFile`.
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
        memory: int | None = None,
        continuation: Continuation | None = None,
    ):
        if type(self) is Codec:
            raise TypeError("make a codec by Codec.load or Codec.of, which choose its backend")
        self._tile = checks.check_count("tile", tile, 0)
        needs = self.needs if continuation is None else _of_two(self.needs)
        self._memory = Memory(needs, checks.check_count("memory", memory, 1))
        self._process = os.getpid()
        self.model_file = model_file
        self.config: ModelConfig = model_file.config
        self.info: dict = model_file.info
        self.identity: bytes = model_file.identity
        self._search_turn = threading.Lock()
        self.continuation = continuation
        self._higher: Codec | None = None
        self._higher_turn = threading.Lock()
        self._least_bits = tables.least_bits(model_file.exact["z/cdf"])

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
            name_or_path: None or "default" for the default, with all its models; a name or path stands for
                one model.
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
        own = self.config.qualities
        return range(own.start, self.continuation.highest + 1) if self.continuation else own

    @property
    def num_qualities(self) -> int | None:
        """How many integer qualities there are, or None for a fixed-rate model."""
        return len(self.qualities) or None

    @property
    def highest_step(self) -> int | None:
        """Of `at_step`: the step of the highest quality, or None for a fixed-rate model."""
        return QUALITY_STEPS * (len(self.qualities) - 1) if self.qualities else None

    def at_step(self, step: int) -> tuple[Codec, int]:
        """(the codec that has a quality, its quality index); step: sixteenths above the lowest one."""
        above = self.continuation.above if self.continuation else math.inf
        quality = self.config.first_quality + step / QUALITY_STEPS
        if quality <= above:
            return self, step
        codec = self._continued()
        return codec, codec.config.index_of(quality)

    def codec_of(self, quality: float | None) -> Codec:
        """The codec of the model that has a quality: this one, or that of the higher qualities."""
        return self.at_step(self._step(quality))[0]

    def _continued(self) -> Codec:
        """The codec of the higher qualities, loaded once."""
        with self._higher_turn:
            if self._higher is None:
                assert self.continuation is not None
                stored = registry.read_model(self.continuation.name)
                self._higher = type(self)(stored, self._tile)
                self._higher._memory = self._memory
            return self._higher

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
        step = self._step(quality)
        search = None
        metadata = checks.check_metadata(metadata)
        codec = self._hungriest() if target else self.at_step(step)[0]
        if checks.check_count("refine", refine, 0):
            _ = codec.refiner  # whatever is wrong with it comes ahead of all work
            search = functools.partial(Codec._refined, rounds=refine, progress=progress)
        with codec._at_work(*image.shape[:2]):
            encoding = Encoding(self, image, _with_grey(metadata, image), search, progress)
            if target is None:
                return encoding.at(step)
            return targets.encode(encoding, target, self.highest_step)

    def _hungriest(self) -> Codec:
        """The codec of the scale that takes most memory, if that is short."""
        return self._continued() if self.continuation and self.has_limited_memory else self

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
        codec = self._of_file(parts)
        checks.check_length(parts, codec._least_bits)
        region = checks.check_crop(crop, parts.width, parts.height)
        clock.lap("container")
        with codec._at_work(parts.height, parts.width):
            return codec._decode(parts, region, progress, clock)

    def _decode(self, parts, region, progress, clock):
        index = parts.quality_index
        rows, columns = work.blocks(parts.width, parts.height)
        streams = Streams(parts.z_stream, parts.y_stream)
        shape = HYPER_STRIDE * rows, HYPER_STRIDE * columns
        bar = stages.coding_bar("entropy decoding", shape, progress)
        with self.while_decoding(shape, region), bar as tell:
            latents = self.coder.decode(streams, (rows, columns), index, tell=tell)
        clock.lap("entropy decoding")
        size = parts.height, parts.width
        image = self.networks.synthesise(latents.y_hat, index, size, region, progress)
        if container.TAG_GREY in parts.metadata:
            image = grey.make_grey(image)
        clock.lap("synthesis")
        quality = self.config.quality_of(index)
        return Decoded(image, dict(parts.metadata), quality, clock.seconds, latents)

    def information_bits(self, latents: Latents, quality: float | None = None) -> float:
        """-log2 of the exact model's probability of y_hat given z_hat, in bits, without any coder."""
        codec, index = self.at_step(self._step(quality))
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
        codec, index = self.at_step(self._step(quality))
        with codec._at_work(*shape):
            image = codec.networks.synthesise(latents[0], index, shape)
        return grey.make_grey(image) if is_grey else image

    def quality_index(self, quality: float | None) -> int:
        """The quality index that a file of this quality has: of the model that has the quality.

        Raises:
            ModelError: there is no such quality.
        """
        return self.at_step(self._step(quality))[1]

    def check_quality(self, quality: float | None) -> None:
        """Raises ModelError where there is no such quality; loads nothing."""
        self._step(quality)

    def _step(self, quality):
        """Sixteenths of a quality above the lowest one."""
        if not self.qualities:
            if quality is not None:
                raise ModelError("this model has one fixed rate; omit the quality", "quality")
            return 0
        quality = self.config.default_quality if quality is None else quality
        quality = checks.check_number("quality", quality)
        lowest, highest = self.qualities[0], self.qualities[-1]
        if not lowest <= quality <= highest:
            raise ModelError(
                f"quality is {quality:g}, it must be from {lowest} to {highest}", "quality"
            )
        return self.config.index_of(quality)

    def _of_file(self, parts) -> Codec:
        """The codec of the model that wrote a file; raises if it is none of the scale's."""
        if self.continuation and parts.model_id == self.continuation.identity:
            return self._continued()._of_file(parts)
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
        backends.need_tensorflow("the refinement of latents, for its gradients,", "refine")
        from gllmm_tf.codec.refinement import Refiner

        return Refiner(self.model_file)

    def _refined(self, image, y, z_hat, index, rounds, progress):
        """y_hat of `Refiner.refine`, float32 [h, w, N]."""
        from gllmm_tf.codec import refinement

        phi, (_, read_x) = self.coder.phi(z_hat, index), pixels.reader(image)
        total = rounds * len(refinement.blocks(y.shape[:2]))
        shown = progress(total=total, desc="refinement") if progress else contextlib.nullcontext()
        with self._search_turn, running_out_of_memory("the refinement"), shown as bar:
            return self.refiner.refine(
                read_x=lambda r, c: read_x(r, c)[None],
                size=image.shape[:2],
                y=y,
                phi=phi,
                inverse_gain=self.networks.inverse_gain(index),
                index=index,
                rounds=rounds,
                tell=bar.update if bar is not None else None,
            )

    def while_decoding(
        self, shape: tuple[int, int], region: Region | None
    ) -> contextlib.AbstractContextManager:
        """What surrounds the decoding of y_hat [*shape, N], for backends that prepare g_s meanwhile."""
        del shape, region
        return contextlib.nullcontext()

    @property
    def has_limited_memory(self) -> bool:
        """Whether the process may take only so much memory: several pictures at once may be too many."""
        return self._memory.is_limited

    def check_place(self) -> None:
        """Raises GllmmError where this codec cannot work."""
        if os.getpid() != self._process:
            raise GllmmError(
                "this codec was loaded by the process that forked this one, in which its threads are "
                "missing: load a codec in each process, or start processes with "
                "multiprocessing.get_context('spawn')"
            )

    def _at_work(self, height, width) -> contextlib.AbstractContextManager:
        """Surrounds the work on a picture of this size: waits for its memory, or refuses it."""
        self.check_place()
        need = work.need(self.config, width, height, self._tile)
        return self._memory.take(f"a picture of {width} x {height} pixels", *need)


def _of_two(needs: Backend) -> Backend:
    """What the networks and threads of a scale's two models take."""
    return Backend(needs.resident + _SECOND_MODEL, needs.addresses + _SECOND_MODEL)


def _with_grey(metadata: Mapping[int, bytes], image: np.ndarray) -> dict[int, bytes]:
    """Metadata that say whether the picture is grey, so that it comes back so."""
    others = {tag: data for tag, data in metadata.items() if tag != container.TAG_GREY}
    return {**others, container.TAG_GREY: b""} if grey.is_grey(image) else others
