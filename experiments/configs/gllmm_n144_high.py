"""gllmm-n144-high: the upper end of the default's scale, gllmm-n144 trained on for high rates.

python train.py --config=experiments/configs/gllmm_n144_high.py:first ...
python train.py --config=experiments/configs/gllmm_n144_high.py:last ...
"""

from experiments.configs.gllmm_n144 import COMMON

HIGH = dict(
    COMMON,
    lambdas=(0.0138, 0.0325, 0.075, 0.17, 0.4),
    first_quality=6,
)

SETTINGS = {
    "first": dict(
        HIGH,
        num_filters=256,
        hyper_filters=144,
        deep_filters=144,
        init_from="runs/gllmm_n256_high_start.npz",
        rate_ramp=500,
        steps=3400,
        learning_rate=1.5e-4,
        adam_learning_rate=1e-4,
        seed=11,
    ),
    "last": dict(
        HIGH,
        init_from="runs/gllmm_n144_high_start.npz",
        patch=192,
        batch=4,
        steps=2000,
        learning_rate=1.5e-4,
        adam_learning_rate=1e-4,
        warmup=50,
        seed=12,
    ),
}
