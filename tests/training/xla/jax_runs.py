"""What the tests under JAX share: its Python, what makes it compile quickly, the rows of a run."""

import json
import os

import pytest

JAX_PYTHON = os.environ.get("GLLMM_JAX_PYTHON", "")
QUICKLY = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "PYTHONPATH": ""}
NEEDS_JAX = pytest.mark.skipif(
    not JAX_PYTHON,
    reason="GLLMM_JAX_PYTHON names no Python with jax (docs/accelerators.md says how to make one)",
)


def rows_of(out):
    with open(f"{out}/metrics.jsonl") as f:
        return [json.loads(line) for line in f]
