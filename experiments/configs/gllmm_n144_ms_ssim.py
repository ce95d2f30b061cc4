"""gllmm-n144-ms-ssim: the default model, trained on for MS-SSIM.

    python train.py --config=experiments/configs/gllmm_n144_ms_ssim.py \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n144_ms_ssim

2,800 steps, 0.41 gigapixels, 59 minutes of two cores of a server CPU with AVX-512 and bfloat16 that did
other work besides. Held-out loss of the averaged weights: 0.652 at step 700, 0.628 at 1,400, 0.619 at
2,100, 0.614 at the end; it was still falling. The sample photographs were not left out of the training
pictures.

The lambdas are the slopes -dR / d(1 - MS-SSIM) of gllmm-n144 at its own qualities on the held-out
photographs, made even at the top, so that the sizes stay about those of gllmm-n144.
"""

from experiments.configs.gllmm_n144 import COMMON

SETTINGS = dict(
    COMMON,
    init_from="gllmm-n144",
    metric="ms-ssim",
    lambdas=(1.5, 2.5, 4.0, 6.4, 11.0, 20.0, 40.0, 90.0),
    patch=192,
    batch=4,
    steps=2800,
    learning_rate=2.5e-4,
    adam_learning_rate=1.7e-4,
    warmup=50,
    flat=0.2,
    seed=9,
)
