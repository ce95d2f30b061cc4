"""The first part of gllmm-n144: GLLMM, N = 144 with a narrower trunk, grown from gllmm-n48.

    python train.py --config=experiments/configs/gllmm_n144_start.py \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/gllmm_n144_start

`train_gllmm_n144_middle.py` goes on from its result.

Time: about 0.5 s per step of 8 crops of 128 x 128 pixels, 65 minutes in all, on two cores of a
server CPU with AVX-512 and bfloat16, after the 1.4 hours of gllmm-n48, whose weights are the start.

Expected at the end, of the averaged weights: a validation loss of about 1.79 with these
lambdas.

The run behind the shipped model differs in this: its first 319 steps had learning rates of 7e-4 (Muon)
and 3e-4 (Adam), at which PSNR only fell, and its length was set to 7000, 6000, 5000 and 5750 steps
in turn (at steps 0, 1254, 2506 and 3750), which moved the schedule of its learning rate.

What was learned on the way:

* 48 channels of y carry no more than 30.4 dB on Kodak, whatever is spent on them: with y not
  rounded at all the picture is no better. Principal components of 16 x 16 blocks say the same.
* New channels of y die at once if they pay for their bits from the first step: a run without
  `rate_ramp` had 2 of 96 alive after 1500 steps. Raising lambda does not help (factor 50).
* Muon's step has a fixed length, so its learning rate bounds the PSNR: at 7e-4 the reconstruction
  of y not rounded stood at 29.6 dB where averaged weights had 30.9; at 2e-4 it rose at once.
"""

SETTINGS = dict(
    system="gllmm",
    num_filters=144,
    trunk_widths="64,96,128",
    families="gaussian,laplacian,logistic",
    components=3,
    stages=2,
    entropy_widths="512,512",
    lambdas="0.001,0.0019,0.0036,0.0068,0.0129,0.0244,0.0462,0.0875",
    metric="mse",
    rounding="ste",
    init_from="gllmm-n48",
    rate_ramp=1500,
    patch=128,
    batch=8,
    steps=5750,
    optimizer="muon",
    learning_rate=2e-4,
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
