"""The training step outside TensorFlow: exported as an XLA program, run by JAX, taken back.

    program      TensorFlow's side: the step as a program
    export       settings -> a folder that travels
    runner, device, state      JAX's side: need jax, NumPy and that folder, no TensorFlow
    take_back    what the runner wrote -> a run, or a model file

docs/accelerators.md shows how they work together.
"""
