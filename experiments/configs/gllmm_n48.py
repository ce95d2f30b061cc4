"""gllmm-n48, the smaller of the shipped models: GLLMM, N = 48, eight qualities.

    python train.py --config=experiments/configs/gllmm_n48.py \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n48

Time: about 0.3 s per step of 8 crops of 128 x 128 pixels, 1.7 hours in all, on two cores of a
server CPU with AVX-512 and bfloat16.

Expected at the end, of the averaged weights: a validation loss of about 2.49; `gllmm models` shows
the table of the model that ships, whose run was planned for 20,000 steps and shortened on the way.

What differs from the published training (experiments/configs/published.py), and why: Muon instead of
Adam, as it needs a fifth of the steps; rounded latents for synthesis and context; a learning rate
that falls from a fifth of the run on, and averaged weights; eight lambdas, each 1.8 times the one
before, whose losses are balanced.
"""

SETTINGS = dict(
    system="gllmm",
    num_filters=48,
    families=("gaussian", "laplacian", "logistic"),
    components=3,
    stages=2,
    entropy_widths=(640, 1280),
    lambdas=(0.0014, 0.0026, 0.0047, 0.0085, 0.0153, 0.0277, 0.05, 0.09),
    metric="mse",
    rounding="ste",
    patch=128,
    batch=8,
    steps=16500,
    optimizer="muon",
    learning_rate=1.2e-3,
    adam_learning_rate=4e-4,
    muon_largest=512,
    warmup=100,
    flat=0.2,
    clip_norm=1.0,
    ema=0.999,
    precision="bfloat16",
    seed=0,
    validation_images=16,
    validation_size=256,
)
