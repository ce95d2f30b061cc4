"""Model files: one `.npz` with everything a codec needs, small enough to ship.

Keys:
    config, info      JSON texts: the `ModelConfig`; how the model was trained.
    exact/NAME        integers that decoding of symbols depends on (`fixed_point.quantise_networks`).
    g_a/I g_s/I h_a/I float16 weights in the order in which the layers create them.
    gains/I, prior/I  float32 gains of a variable-rate model; float32 parameters of the model of z.

Arrays of models that ship are packed (`packing.py`), which changes nothing but their bytes on the disk.

A model's identity is a hash of what decoding depends on: configuration, tables, the exact integers,
g_s and the gains. It stands in every file that the model writes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from gllmm_tf.coding import tables
from gllmm_tf.config import ModelConfig
from gllmm_tf.errors import ModelError
from gllmm_tf.files.atomic import write_bytes_atomic
from gllmm_tf.zoo import packing

FILE_NAME = "model.npz"  # inside a training run's directory
IDENTITY_BYTES = 8
TRANSFORMS = ("g_a", "g_s", "h_a")


class ModelFile:
    """A model file in memory.

    Attributes:
        config: `ModelConfig`.
        info: dict of facts about the training.
        exact: `{name: integer array}`.
        weights: `{part: list of float arrays}` for g_a, g_s, h_a, gains, prior.
    """

    def __init__(
        self,
        config: ModelConfig,
        info: dict[str, Any],
        exact: dict[str, np.ndarray],
        weights: dict[str, list],
    ):
        self.config = config
        self.info = info
        self.exact = exact
        self.weights = weights

    @property
    def identity(self) -> bytes:
        """The first 8 bytes of a SHA-256 of what decoding depends on."""
        state = hashlib.sha256(self.config.to_json().encode())
        state.update(tables.digest())
        for name, array in sorted(self.exact.items()):
            _update(state, name, array)
        for part in ("g_s", "gains"):
            for i, array in enumerate(self.weights[part]):
                _update(state, f"{part}/{i}", array)
        return state.digest()[:IDENTITY_BYTES]

    @classmethod
    def from_model(
        cls, model, info: Mapping[str, Any], empty_rows: np.ndarray | None = None
    ) -> ModelFile:
        """Of a built `CompressionModel`: rounds what is exact and halves the precision of the rest.

        Args:
            model: A built `CompressionModel`.
            info: Facts about the training, for JSON.
            empty_rows: What `empty_channels.fit` returns.

        Raises:
            ModelError: weights that are not finite.
        """
        from gllmm_tf.coding.fixed_point import quantise_networks

        weights = {
            part: [v.numpy().astype(np.float16) for v in getattr(model, part).weights]
            for part in TRANSFORMS
            if hasattr(model, part)
        }
        for part, arrays in weights.items():
            if not all(np.all(np.isfinite(a)) for a in arrays):
                raise ModelError(
                    f"{part} has weights that are not finite in 16 bits: train it again"
                )
        weights["gains"] = [] if model.gains is None else model.gains.get_weights()
        prior = model.z_bottleneck
        weights["prior"] = [] if prior is None else [v.numpy() for v in prior.variables]
        exact = quantise_networks(model, empty_rows)
        return cls(model.config, dict(info), exact, weights)

    def check_of_pictures(self) -> None:
        """Raises ModelError for an enhancement layer, which is no model of its own."""
        if self.config.base:
            raise ModelError(
                f"this is an enhancement layer upon model {self.config.base}, which can be used by a codec "
                "alone; take that model",
                "model",
            )

    def arrays(self) -> dict[str, np.ndarray]:
        """{name: array} of the networks, as a file that is not packed holds them."""
        arrays = {f"exact/{name}": array for name, array in self.exact.items()}
        for part, values in self.weights.items():
            arrays.update({f"{part}/{i:03d}": array for i, array in enumerate(values)})
        return arrays

    def save(
        self, path: str | os.PathLike, packed: bool = False, base: ModelFile | None = None
    ) -> None:
        """Writes the file under a temporary name and renames it.

        Args:
            path: Of the file.
            packed: In fewer bytes, as for models that ship.
            base: A released model, which is read along with the file: what differs from it is packed.
        """
        arrays: dict[str, Any] = {
            "config": np.array(self.config.to_json()),
            "info": np.array(json.dumps(self.info, sort_keys=True)),
        }
        if packed and base:
            arrays[packing.BASE] = np.array(base.identity.hex())
        own = self.arrays()
        arrays.update(packing.pack(own, base.arrays() if base else None) if packed else own)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_bytes_atomic(path, buffer.getvalue())

    @classmethod
    def read(cls, path: str | os.PathLike) -> ModelFile:
        """Reads a file, or `model.npz` in a directory.

        Raises:
            ModelError: one line: the path, what is wrong, what to do.
        """
        path, arrays = _load(path)
        try:
            arrays = packing.unpack(arrays, _arrays_of)
            config = ModelConfig.from_json(str(arrays["config"]))
            info = json.loads(str(arrays["info"]))
            parts: dict[str, list] = {part: [] for part in (*TRANSFORMS, "gains", "prior")}
            exact = {}
            for name in sorted(arrays):
                part, _, rest = name.partition("/")
                if part == "exact":
                    exact[rest] = arrays[name]
                elif part in parts:
                    parts[part].append(arrays[name])
        except (KeyError, ValueError) as error:
            raise ModelError(f"{path}: not a gllmm_tf model ({error}); export it again") from None
        return cls(config, info, exact, parts)

    def assign(self, part: str, layer) -> None:
        """Puts the stored weights of `part` into a built Keras layer.

        Raises:
            ModelError: they are of other shapes.
        """
        variables = list(layer.variables if part == "prior" else layer.weights)
        stored = self.weights[part]
        if [tuple(v.shape) for v in variables] != [a.shape for a in stored]:
            raise ModelError(f"the stored weights of {part} do not fit the model's configuration")
        for variable, array in zip(variables, stored):
            variable.assign(array.astype(np.float32))


def _arrays_of(identity: bytes) -> dict[str, np.ndarray]:
    """`ModelFile.arrays` of a released model: another one might have this one as its own base."""
    from gllmm_tf.zoo import registry

    for name, released in registry.RELEASED.items():
        if released == identity.hex():
            return registry.read_model(name).arrays()
    raise ModelError(
        f"holds what differs from model {identity.hex()}, which does not ship with this version; "
        "take the version that the file came with"
    )


def _load(path: str | os.PathLike) -> tuple[str, dict[str, np.ndarray]]:
    """(path of the file, its arrays); `path` may be a folder."""
    path = os.fspath(path)
    if os.path.isdir(path):
        path = os.path.join(path, FILE_NAME)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return path, dict(archive)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file; `gllmm models` lists what ships") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: not a readable model file ({reason}); export it again") from None


def _update(state, name, array):
    little = array.astype(array.dtype.newbyteorder("<"))
    state.update(f"{name} {little.dtype.str} {little.shape} ".encode())
    state.update(np.ascontiguousarray(little).tobytes())


def export_model(
    model, path: str | os.PathLike, info: Mapping[str, Any], empty_rows: np.ndarray | None = None
) -> None:
    """Writes a built `CompressionModel` as a model file; arguments as in `ModelFile.from_model`."""
    ModelFile.from_model(model, info, empty_rows).save(path)
