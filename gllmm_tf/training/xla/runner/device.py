"""Groups of steps, compiled for JAX's device."""

from __future__ import annotations

import contextlib
from typing import Any

from gllmm_tf.errors import GllmmError, OutOfMemoryError
from gllmm_tf.training.xla.runner import stablehlo


class Steps:
    """Compiled groups of steps, several per call.

    Args:
        folder: Of the exported step.
        manifest: Of the same.
        precision: One of `stablehlo.PRECISIONS`.
        cache: Folder for compiled programs, unless jax is configured to use another; empty for none.

    Attributes:
        device: Name of the device.

    Raises:
        GllmmError: there is no jax, or it cannot read the program.
    """

    def __init__(self, folder: str, manifest: dict[str, Any], precision: str, cache: str = ""):
        try:
            import jax
        except ImportError:
            raise GllmmError(
                "jax is not installed; pip install jax, or jax[cuda] for a GPU"
            ) from None
        self._jax = jax
        if cache and not jax.config.jax_compilation_cache_dir:
            jax.config.update("jax_compilation_cache_dir", cache)
        self._step = stablehlo.load_step(folder, manifest, precision)
        self._compiled: dict[int, Any] = {}
        device = jax.devices()[0]
        self.device = f"{device.device_kind} ({device.platform}, jax {jax.__version__})"

    def put(self, arrays):
        """Copies a dict of arrays to the device."""
        return self._jax.device_put(arrays)

    def get(self, arrays):
        """Copies a dict of arrays to the host."""
        return self._jax.device_get(arrays)

    def prepare(self, state, inputs):
        """Compiles the steps for as many as the inputs have rows; returns the program."""
        count = len(inputs["seed"])
        if count not in self._compiled:
            together = self._alone if count == 1 else self._scanned
            jitted = self._jax.jit(together, donate_argnums=0)
            with self._memory():
                self._compiled[count] = jitted.lower(state, inputs).compile()
        return self._compiled[count]

    def run(self, state, inputs):
        """Runs as many steps as the inputs have rows; the state given is consumed.

        Returns:
            (state, metrics float32 [steps, len(METRICS)]), both on the device.

        Raises:
            OutOfMemoryError: the device is too small.
        """
        with self._memory():
            state, metrics = self.prepare(state, inputs)(state, inputs)
            return state, self._jax.block_until_ready(metrics)

    @contextlib.contextmanager
    def _memory(self):
        """Turns what XLA says about a full device into one line."""
        try:
            yield
        except self._jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise OutOfMemoryError(
                f"{self.device}: its memory is too small for the step; use the precision bfloat16, "
                "or export with a smaller batch or patch",
                "precision",
            ) from None

    def _alone(self, state, inputs):
        state, metrics = self._step(state, {key: value[0] for key, value in inputs.items()})
        return state, metrics[None]

    def _scanned(self, state, inputs):
        return self._jax.lax.scan(self._step, state, inputs)
