"""gllmm-n144-high: the upper end of the default's scale, gllmm-n144 trained on for high rates.

    python -m experiments.tools.revive --num_filters=256 --hyper_filters=144 --deep_filters=144 \\
        --lambdas=0.0138,0.0325,0.075,0.17,0.4 --train_glob='photos/**/*.jpg' \\
        --output=runs/gllmm_n256_high_start.npz
    python train.py --config=experiments/configs/gllmm_n144_high.py:first \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n144_high_first --max_seconds=1000
    python train.py --config=experiments/configs/gllmm_n144_high.py:last \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n144_high
    python -m experiments.tools.ship_model --model=runs/gllmm_n144_high --positions=1,1.64,3.11,5 \\
        --base=gllmm-n144 --train_glob='photos/**/*.jpg' --output=gllmm-n144-high.npz

The first part was meant for 112 more channels of y. They had died when it was stopped, after 800 steps and
17 minutes; what it had done for the 144 others was kept, as the second part's start, which takes the first
144 channels of every layer. Two cores of a server CPU with AVX-512 and bfloat16, with other work beside.

Held-out loss, the mean over the five lambdas: 4.20 at the start of `last`, 4.23 at step 500, 4.20 at 1,000,
4.18 at 1,500, 4.17 at the end. The sample photographs were left out of the training pictures.

Beside gllmm-n144 on the held-out photographs, at equal PSNR: 2.8 % more rate at 34.8 dB, as much at 35.4,
4.6 % less at 35.9, 11.4 % less at 36.4, where gllmm-n144 ends; this one ends at 37.4 dB. So the default
goes over to it above quality 7, which is at 35.5 dB there.
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
        init_from="runs/gllmm_n144_high_first",
        patch=192,
        batch=4,
        steps=2000,
        learning_rate=1.5e-4,
        adam_learning_rate=1e-4,
        warmup=50,
        seed=12,
    ),
}
