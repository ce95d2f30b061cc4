"""The training step outside TensorFlow: exported as an XLA program, run by JAX, taken back.

    export.py   TensorFlow's side: the step as a program, its state, and the state back again
    runner.py   JAX's side: needs jax, NumPy and the folder that export.py wrote; no TensorFlow

docs/accelerators.md shows how the two work together.
"""
