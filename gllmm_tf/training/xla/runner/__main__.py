"""Trains with an exported training step, or continues doing so; needs jax and numpy alone.

    python run.py --out=out --steps_per_call=20 --precision=bfloat16 --max_seconds=3000

This is run.py in the folder of the step. In a checkout, name that folder:

    python -m gllmm_tf.training.xla.runner --step=step --out=out

The same command continues a run that was stopped, at any moment and in any way. The folder of --out gets

    metrics.jsonl             one line of means per --log_every steps, as train.py writes them
    checkpoint-00001000/      the two latest: state-00.npz, .. of at most 16 MB, checkpoint.json
    compiled/                 compiled programs, for the next start

experiments/tools/import_state.py takes that folder back into TensorFlow.
"""

from gllmm_tf.training.xla.runner import command

if __name__ == "__main__":
    command.main()
