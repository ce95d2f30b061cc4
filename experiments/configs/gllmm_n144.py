"""The default model, gllmm-n144, in six parts, and how it is trained on.

    python train.py --config=experiments/configs/gllmm_n144.py:KEY \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n144_KEY

Each part begins with the result of the one before. On two cores of a server CPU with AVX-512 and
bfloat16 a step of 8 crops of 128 x 128 pixels takes about 0.5 s.

start (65 minutes, after the 1.4 hours of gllmm-n48, whose weights are its start): N = 144 with a
    narrower trunk. Validation loss of the averaged weights at the end, with its lambdas: 1.79.
middle (50 minutes): lambdas that reach further to both ends. 1.94. Of the 144 channels of y, 38 are
    never used then, and the top quality is at 32.7 dB on the held-out photographs.
revived (25 minutes): from a file in which the unused channels have a new start:

        python -m experiments.tools.revive --model=runs/gllmm_n144_middle \\
            --train_glob='photos/**/*.jpg' --output=runs/gllmm_n144_revived.npz

    Lambdas that reach further up still: a larger weight of the distortion is what the transforms
    need most. 33.6 dB at the top quality.
spaced (25 minutes): lambdas chosen by the validation of the part before, so that rates grow by about
    equal factors from quality to quality; the last one is larger than that asked for. 1.57.
fresh (90 minutes): another seed, for crops that the parts before have not seen. 1.51.
last (4 minutes of an NVIDIA H200, 0.018 s per step of 16 crops of 256 x 256 pixels): larger crops,
    twice as many, and a learning rate that starts 2.2 times higher, so that the loss first rises. 1.36.
    13,100 steps, 13.7 gigapixels, fitted into 232 s:

        python -m experiments.tools.export_step --config=experiments/configs/gllmm_n144.py:last \\
            --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n144 \\
            --export_dir=step --pictures=files
        python step/run.py --out=out \\
            --precision=bfloat16 --steps_per_call=20 --fit_seconds=355      # there
        python -m experiments.tools.import_state --state=out --model=trained.npz \\
            --train_glob='photos/**/*.jpg'
        python -m experiments.tools.extend_range --model=trained.npz --by=0.2 \\
            --output=gllmm-n144.npz --train_glob='photos/**/*.jpg'

    The last command moves quality 8, 0.95 bpp on Kodak by then, out on its own line: 1.008 to 1.079
    bpp and 34.20 to 34.32 dB on held-out photographs.
idle: for hours of a few cores that have nothing else to do, from the shipped weights, with drawn
    pictures as a tenth of the set:

        python -m experiments.tools.drawn_pictures --output_dir=drawn --count=66
        python train.py --config=experiments/configs/gllmm_n144.py:idle \\
            --train_glob='photos/**/*.jpg,drawn/*.png' --run_dir=runs/gllmm_n144_idle

    A small, constant learning rate: nothing decays, so it can go on for ever, and a decay is branched
    from it when a model is wanted. At five times that rate the averaged weights stood at a validation
    loss of 1.65 after 1,000 steps, where the shipped ones have 1.36.

The runs behind the shipped model differ in this: the first 319 steps of `start` had learning rates of
7e-4 and 3e-4, at which PSNR only fell; the lengths of `start`, `middle`, `revived` and `fresh` were
changed on the way, which moved the schedules of their learning rates (start: 7000, 6000, 5000, 5750 at
steps 0, 1254, 2506, 3750; middle: 9000, 6750, 6000 at 0, 654, 743; revived: 6500, 5600 at 0, 1764,
ended at 2800; fresh: 11000, 10000 at 0, 2952). The runs up to `spaced` had one seed, so each saw the
crops of the one before once more. Held-out pictures were chosen by number.

What was learned on the way:

* 48 channels of y carry no more than 30.4 dB on Kodak, whatever is spent on them: with y not
  rounded at all the picture is no better. Principal components of 16 x 16 blocks say the same.
* New channels of y die at once if they pay for their bits from the first step: a run without
  `rate_ramp` had 2 of 96 alive after 1500 steps. Raising lambda does not help (factor 50).
* Muon's step has a fixed length, so its learning rate bounds the PSNR: at 7e-4 the reconstruction
  of y not rounded stood at 29.6 dB where averaged weights had 30.9; at 2e-4 it rose at once.
* To revive channels, the error in the picture is to be taken with the gains of the quality. Without
  them the channels carried what the gains take away, and nearly all of them died again.
"""

SPACED = (0.0006, 0.00122, 0.00217, 0.0037, 0.0068, 0.0138, 0.0325, 0.15)

COMMON = dict(
    system="gllmm",
    num_filters=144,
    trunk_widths=(64, 96, 128),
    entropy_widths=(512, 512),
    lambdas=SPACED,
    metric="mse",
    rounding="ste",
    patch=128,
    batch=8,
    optimizer="muon",
    muon_largest=400,
    warmup=100,
    flat=0.0,
    clip_norm=1.0,
    ema=0.999,
    precision="bfloat16",
    seed=0,
    validation_images=16,
    validation_size=256,
)

SETTINGS = {
    "start": dict(
        COMMON,
        lambdas=(0.001, 0.0019, 0.0036, 0.0068, 0.0129, 0.0244, 0.0462, 0.0875),
        init_from="gllmm-n48",
        rate_ramp=1500,
        steps=5750,
        learning_rate=2e-4,
        adam_learning_rate=2e-4,
        flat=0.2,
    ),
    "middle": dict(
        COMMON,
        lambdas=(0.0006, 0.0013, 0.0028, 0.006, 0.0128, 0.0274, 0.0588, 0.126),
        init_from="runs/gllmm_n144_start",
        steps=6000,
        learning_rate=3e-4,
        adam_learning_rate=2e-4,
        flat=0.2,
    ),
    "revived": dict(
        COMMON,
        lambdas=(0.0006, 0.00146, 0.00354, 0.0086, 0.0209, 0.0508, 0.1234, 0.3),
        init_from="runs/gllmm_n144_revived.npz",
        rate_ramp=1500,
        steps=2800,
        learning_rate=3e-4,
        adam_learning_rate=2e-4,
        flat=0.2,
    ),
    "spaced": dict(
        COMMON,
        init_from="runs/gllmm_n144_revived",
        steps=2900,
        learning_rate=2.1e-4,
        adam_learning_rate=1.4e-4,
        warmup=50,
    ),
    "fresh": dict(
        COMMON,
        init_from="runs/gllmm_n144_spaced",
        steps=10000,
        learning_rate=3.6e-4,
        adam_learning_rate=2.4e-4,
        seed=5,
    ),
    "last": dict(
        COMMON,
        init_from="runs/gllmm_n144_fresh",
        patch=256,
        batch=16,
        steps=13100,
        learning_rate=8e-4,
        adam_learning_rate=3e-4,
        warmup=200,
        seed=6,
    ),
    "idle": dict(
        COMMON,
        init_from="gllmm-n144",
        patch=256,
        batch=4,
        steps=200_000,
        learning_rate=6e-5,
        adam_learning_rate=3e-5,
        warmup=200,
        flat=1.0,
        ema=0.9995,
        seed=8,
        validation_files=0,
        evaluate_every=1000,
    ),
}
