"""JAX's side of a training step that runs elsewhere. Needs jax, NumPy and the folder of the step.

    pictures, seed, step --> crops, qualities --.
    settings, step --> learning rate -----------+--> step --> metrics
    seed, step --> noise seed ------------------'     |
                                     state  <---------'  (donated: updated in place)

    command      options -> run
    loop         the run: the same meter, folder, schedule and crops as `gllmm_tf.training.run`
    device       groups of steps, compiled
    stablehlo    the exported program, as JAX takes it
    pictures     the training pictures in files that travel
    checkpoints  the state in files that travel
    pieces       files with checksums

`gllmm_tf.training.xla.bundle` copies this package, and what it imports of `gllmm_tf`, into the folder of
the step.
"""
