"""An exported step as a compiled program of JAX's device. Travels with runner.py."""

import contextlib
import dataclasses
import gzip

import numpy as np

if __package__:
    from gllmm_tf.training.xla import state as state_lib
else:  # in the folder of an exported step
    import state as state_lib

RunError = state_lib.RunError

PRECISIONS = {
    "highest": ("float32", "HIGHEST"),
    "default": ("float32", "DEFAULT"),
    "bfloat16": ("bfloat16", "DEFAULT"),
}
"""Name -> (which program, precision of its float32 convolutions)."""

TESTED = "jax 0.7 to 0.12"


def to_stablehlo(hlo, precision):
    """Turns a serialized HloModuleProto into a portable StableHLO artifact.

    Convolutions of float32 get the precision "HIGHEST" or "DEFAULT", at which an accelerator may
    round their operands (TF32 on an NVIDIA GPU, bfloat16 on a TPU). Everything else stays at
    HIGHEST: grouped convolutions are the windows of MS-SSIM, whose variances are small
    differences, and the matrix products are small.
    """
    try:
        from jax.interpreters.mlir import make_ir_context
        from jaxlib import _jax
        from jaxlib.mlir import ir
        from jaxlib.mlir.dialects import stablehlo

        convert = _jax.mlir.hlo_to_stablehlo  # no public name has it
    except (ImportError, AttributeError) as error:
        raise RunError(f"this jax cannot read HLO ({error}); use {TESTED}") from None
    with make_ir_context(), ir.Location.unknown():
        module = ir.Module.parse(convert(hlo))
        copies = []

        def attribute(op, name):
            return op.attributes[name].value if name in op.attributes else 1

        def visit(op):
            if op.name == "mhlo.copy":
                copies.append(op)
            elif "precision_config" in op.attributes:
                coarse = op.name == "stablehlo.convolution" and (
                    attribute(op, "feature_group_count") == attribute(op, "batch_group_count") == 1
                )
                level = precision if coarse else "HIGHEST"
                level = ir.Attribute.parse(f"#stablehlo<precision {level}>")
                op.attributes["precision_config"] = ir.ArrayAttr.get([level, level])
            return ir.WalkResult.ADVANCE

        module.operation.walk(visit)
        for op in copies:  # of values that never change: without effect
            op.results[0].replace_all_uses_with(op.operands[0])
            op.operation.erase()
        attributes = module.operation.attributes
        for name in [getattr(a, "name", a) for a in attributes]:
            if name.startswith("mhlo."):  # of TensorFlow's compiler
                del attributes[name]
        one = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), 1)
        attributes["mhlo.num_partitions"] = attributes["mhlo.num_replicas"] = one
        return stablehlo.serialize_portable_artifact(module, stablehlo.get_current_version())


def load_step(folder, manifest, precision):
    """Returns the exported step as a function that JAX can compile.

    Returns:
        step(state, inputs) -> (state, metrics): dicts of arrays by name, as the manifest lists
        them under "variables" and "arguments"; metrics is float32 [len(manifest["metrics"])].
    """
    import jax
    import jax.export

    # The counters are int64. Everything has its type given, so nothing else becomes wider.
    jax.config.update("jax_enable_x64", True)
    name, level = PRECISIONS[precision]
    if name not in manifest["programs"]:
        raise RunError(
            f"{folder}: holds no {name} program for --precision={precision}; export it with "
            f"--programs={','.join([*manifest['programs'], name])}"
        )
    program = manifest["programs"][name]
    packed = state_lib.read_bytes(
        folder, program["file"], program["sha256"], "copy the folder again"
    )
    module = to_stablehlo(gzip.decompress(packed), level)
    values = {**manifest["arguments"], **manifest["variables"]}
    values["metrics"] = {"shape": [len(manifest["metrics"])], "dtype": "float32"}
    specs = {
        key: jax.ShapeDtypeStruct(tuple(value["shape"]), np.dtype(value["dtype"]))
        for key, value in values.items()
    }
    # A function with the same inputs and outputs is exported; the module then takes its place.
    results = [specs[key] for key in program["results"]]
    outline = jax.jit(
        lambda *_: tuple(jax.numpy.zeros(r.shape, r.dtype) for r in results), keep_unused=True
    )
    exported = jax.export.export(outline)(*(specs[key] for key in program["parameters"]))
    exported = dataclasses.replace(exported, mlir_module_serialized=module)

    def step(state, inputs):
        arguments = {**state, **inputs}
        results = exported.call(*(arguments[key] for key in program["parameters"]))
        changed = dict(zip(program["results"], results))
        metrics = changed.pop("metrics")
        return {**state, **changed}, metrics

    return step


class Steps:
    """Compiled groups of steps, several per call.

    Attributes:
        device: name of the device.
    """

    def __init__(self, folder, manifest, precision):
        try:
            import jax
        except ImportError:
            raise RunError(
                "jax is not installed; pip install jax, or jax[cuda] for a GPU"
            ) from None
        self._jax = jax
        self._step = load_step(folder, manifest, precision)
        self._compiled = {}
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
            (state, metrics float32 [steps, len(metrics)]).
        """
        with self._memory():
            return self.prepare(state, inputs)(state, inputs)

    @contextlib.contextmanager
    def _memory(self):
        """Turns what XLA says about a full device into one line."""
        try:
            yield
        except self._jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise RunError(
                f"{self.device}: its memory is too small for the step; use --precision=bfloat16, "
                "or export with a smaller --batch or --patch"
            ) from None

    def _alone(self, state, inputs):
        state, metrics = self._step(state, {key: value[0] for key, value in inputs.items()})
        return state, metrics[None]

    def _scanned(self, state, inputs):
        return self._jax.lax.scan(self._step, state, inputs)
