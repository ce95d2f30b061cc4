"""The exported program, a serialized HloModuleProto, as a function that JAX compiles."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable
from typing import Any

import numpy as np

from gllmm_tf.errors import GllmmError
from gllmm_tf.training.meter import METRICS
from gllmm_tf.training.xla.runner import pieces

PRECISIONS = {
    "highest": ("float32", "HIGHEST"),
    "default": ("float32", "DEFAULT"),
    "bfloat16": ("bfloat16", "DEFAULT"),
}
"""Name -> (which program, precision of its float32 convolutions)."""

TESTED = "jax 0.7 to 0.12"


def to_stablehlo(hlo: bytes, precision: str) -> bytes:
    """Turns a serialized HloModuleProto into a portable StableHLO artifact.

    Convolutions of float32 get the precision "HIGHEST" or "DEFAULT", at which an accelerator may
    round their operands (TF32 on an NVIDIA GPU, bfloat16 on a TPU). Everything else stays at
    HIGHEST: grouped convolutions are the windows of MS-SSIM, whose variances are small
    differences, and the matrix products are small.

    Raises:
        GllmmError: this jax cannot do it.
    """
    try:
        from jax.interpreters.mlir import make_ir_context
        from jaxlib import _jax
        from jaxlib.mlir import ir
        from jaxlib.mlir.dialects import stablehlo

        convert = _jax.mlir.hlo_to_stablehlo  # no public name has it
    except (ImportError, AttributeError) as error:
        raise GllmmError(f"this jax cannot read HLO ({error}); use {TESTED}") from None
    with make_ir_context(), ir.Location.unknown():
        module = ir.Module.parse(convert(hlo))
        copies = []

        def visit(op):
            if op.name == "mhlo.copy":
                copies.append(op)
            elif "precision_config" in op.attributes:
                level = precision if _is_plain_convolution(op) else "HIGHEST"
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


def _is_plain_convolution(op):
    groups = [
        op.attributes[name].value if name in op.attributes else 1
        for name in ("feature_group_count", "batch_group_count")
    ]
    return op.name == "stablehlo.convolution" and groups == [1, 1]


def load_step(folder: str, manifest: dict[str, Any], precision: str) -> Callable:
    """Returns the exported step as a function that JAX can compile.

    Args:
        folder: Of the exported step.
        manifest: Of the same.
        precision: One of `PRECISIONS`.

    Returns:
        step(state, inputs) -> (state, metrics): dicts of arrays by name, as the manifest lists
        them under "variables" and "arguments"; metrics is float32 [len(METRICS)].

    Raises:
        GllmmError: the program is not there, is damaged, or cannot be read by this jax.
    """
    import jax
    import jax.export

    # The counters are int64. Everything has its type given, so nothing else becomes wider.
    jax.config.update("jax_enable_x64", True)
    name, level = PRECISIONS[precision]
    if name not in manifest["programs"]:
        raise GllmmError(
            f"{folder}: holds no {name} program; choose another precision, or export with "
            f"--programs={','.join([*manifest['programs'], name])}",
            "precision",
        )
    program = manifest["programs"][name]
    packed = pieces.read_bytes(folder, program["file"], program["sha256"], "copy the folder again")
    module = to_stablehlo(gzip.decompress(packed), level)
    values = {**manifest["arguments"], **manifest["variables"]}
    values["metrics"] = {"shape": [len(METRICS)], "dtype": "float32"}
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
