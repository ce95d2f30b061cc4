"""Compresses pictures to `.gllmm` files and back: the command `gllmm`, run from a checkout.

    python compress.py compress photo.png              # writes photo.png.gllmm
    python compress.py decompress photo.png.gllmm      # writes photo.png.gllmm.png beside photo.png
    python compress.py info photo.png.gllmm
    python compress.py evaluate kodim*.png
    python compress.py models

`python compress.py COMMAND --help` lists the options.
"""

from gllmm_tf.cli import main as cli

if __name__ == "__main__":
    cli.run()
