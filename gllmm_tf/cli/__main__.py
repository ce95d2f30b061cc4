"""`python -m gllmm_tf.cli` is the command `gllmm`."""

from gllmm_tf.cli.main import run

if __name__ == "__main__":
    run()
