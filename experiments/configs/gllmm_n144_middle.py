"""The second part of gllmm-n144, from the result of train_gllmm_n144_start.py.

    python train.py --config=experiments/configs/gllmm_n144_middle.py \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n144_middle

Time: about 0.49 s per step of 8 crops of 128 x 128 pixels, 50 minutes in all, on two cores of a server
CPU with AVX-512 and bfloat16. Its lambdas reach further to both ends than those of the first part.

Expected at the end, of the averaged weights: a validation loss of about 1.94 with these lambdas. Of
the 144 channels of y, 38 are never used then, and the top quality is at 32.7 dB on the held-out
photographs. `train_gllmm_n144_revived.py` goes on.

The run behind the shipped model differs in this: its length was set to 9000, 6750 and 6000 steps in turn
(at steps 0, 654 and 743), which moved the schedule of its learning rate. The time in its record
includes about 40 minutes in which the process was stopped.
"""

SETTINGS = dict(
    system="gllmm",
    num_filters=144,
    trunk_widths="64,96,128",
    families="gaussian,laplacian,logistic",
    components=3,
    stages=2,
    entropy_widths="512,512",
    lambdas="0.0006,0.0013,0.0028,0.006,0.0128,0.0274,0.0588,0.126",
    metric="mse",
    rounding="ste",
    init_from="runs/gllmm_n144_start",
    patch=128,
    batch=8,
    steps=6000,
    optimizer="muon",
    learning_rate=3e-4,
    adam_learning_rate=2e-4,
    muon_largest=400,
    warmup=100,
    flat=0.2,
    clip_norm=1.0,
    ema=0.999,
    precision="bfloat16",
    seed=0,
    validation_images=16,
    validation_size=256,
)
