"""python -m gllmm_tf.desktop [--share DIR] [--remove]"""

import sys

from gllmm_tf.desktop.install import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
