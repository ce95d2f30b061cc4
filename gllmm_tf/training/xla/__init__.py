"""The training step outside TensorFlow: exported as an XLA program, run by JAX, taken back.

    program      TensorFlow's side: the step as a program
    export       learner -> programs and state, as files
    bundle       settings -> a folder that travels: these, pictures, and the runner
    runner/      JAX's side: needs jax, NumPy and that folder, no TensorFlow
    take_back    what the runner wrote -> a run, or a model file

docs/accelerators.md shows how they work together.
"""
