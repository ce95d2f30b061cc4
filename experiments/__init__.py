"""Programs that answer questions about the codec; experiments/README.md lists them.

Each runs from the root of the repository as `python -m experiments.ROOM.NAME --help`.
"""

import os

os.environ.setdefault(
    "TF_CPP_MIN_LOG_LEVEL", "3"
)  # before TensorFlow is imported: no start-up messages
