"""Where things are in a checkout."""

import os

EXPERIMENTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(EXPERIMENTS)
RESULTS = os.path.join(EXPERIMENTS, "results")  # what the programs measured
PUBLISHED = os.path.join(EXPERIMENTS, "published")  # others' figures, with their sources
CONFIGS = os.path.join(EXPERIMENTS, "configs")
DOCS = os.path.join(ROOT, "docs")
ASSETS = os.path.join(ROOT, "assets")
SAMPLES = tuple(os.path.join(ASSETS, name) for name in ("friends.png", "picos_de_europa.png"))
"""The two sample photographs, which the default model was not trained on."""
