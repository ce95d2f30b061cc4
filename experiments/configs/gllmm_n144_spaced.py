"""The fourth part of gllmm-n144, from the result of train_gllmm_n144_revived.py.

    python train.py --config=experiments/configs/gllmm_n144_spaced.py \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n144_spaced

Time: about 0.5 s per step of 8 crops of 128 x 128 pixels, 25 minutes in all, on two cores of a server
CPU with AVX-512 and bfloat16.

The lambdas were chosen by the validation of the part before, so that rates grow by about equal factors
from quality to quality. The last one is larger than that asked for, for the weight of the distortion.

Expected at the end, of the averaged weights: a validation loss of about 1.57 with these lambdas.
`train_gllmm_n144.py` goes on.

The runs up to here had one seed, so each saw the crops of the one before once more.
"""

SETTINGS = dict(
    system="gllmm",
    num_filters=144,
    trunk_widths="64,96,128",
    families="gaussian,laplacian,logistic",
    components=3,
    stages=2,
    entropy_widths="512,512",
    lambdas="0.0006,0.00122,0.00217,0.0037,0.0068,0.0138,0.0325,0.15",
    metric="mse",
    rounding="ste",
    init_from="runs/gllmm_n144_revived",
    patch=128,
    batch=8,
    steps=2900,
    optimizer="muon",
    learning_rate=2.1e-4,
    adam_learning_rate=1.4e-4,
    muon_largest=400,
    warmup=50,
    flat=0.0,
    clip_norm=1.0,
    ema=0.999,
    precision="bfloat16",
    seed=0,
    validation_images=16,
    validation_size=256,
)
