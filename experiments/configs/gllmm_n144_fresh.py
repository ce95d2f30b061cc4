"""The default model, fifth part: from the result of train_gllmm_n144_spaced.py.

    python train.py --config=experiments/configs/gllmm_n144_fresh.py \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n144_fresh

Time: about 0.5 s per step of 8 crops of 128 x 128 pixels, 90 minutes in all, on two cores of a server
CPU with AVX-512 and bfloat16. Another seed than before, for crops that the parts before have not seen.

Expected at the end, of the averaged weights: a validation loss of about 1.51 with these lambdas.
train_gllmm_n144.py goes on from there.

The run behind the shipped model differs in this: its length was set to 11000 and, at step 2952, to 10000
steps, which moved the schedule of its learning rate. Its table of empty channels was counted again
after the run, as `gllmm_tf/coding/empty_channels.py` now has it.
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
    init_from="runs/gllmm_n144_spaced",
    patch=128,
    batch=8,
    steps=10000,
    optimizer="muon",
    learning_rate=3.6e-4,
    adam_learning_rate=2.4e-4,
    muon_largest=400,
    warmup=100,
    flat=0.0,
    clip_norm=1.0,
    ema=0.999,
    precision="bfloat16",
    seed=5,
    validation_images=16,
    validation_size=256,
)
