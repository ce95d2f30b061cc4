"""gllmm-n256-high: the upper end of the quality scale, beyond gllmm-n144.

    python -m experiments.tools.revive --model=gllmm-n144 --num_filters=256 --hyper_filters=144 \\
        --deep_filters=144 --lambdas=0.0138,0.0325,0.075,0.17,0.4 \\
        --train_glob='photos/**/*.jpg' --output=runs/gllmm_n256_high_start.npz
    python train.py --config=experiments/configs/gllmm_n256_high.py \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n256_high
"""

from experiments.configs.gllmm_n144 import COMMON

SETTINGS = dict(
    COMMON,
    num_filters=256,
    hyper_filters=144,
    deep_filters=144,
    lambdas=(0.0138, 0.0325, 0.075, 0.17, 0.4),
    init_from="runs/gllmm_n256_high_start.npz",
    rate_ramp=500,
    steps=3400,
    learning_rate=1.5e-4,
    adam_learning_rate=1e-4,
    warmup=100,
    seed=11,
)
