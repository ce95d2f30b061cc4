"""The published trainings, one model per lambda.

    python train.py --config=experiments/configs/published.py:gllmm-mse-0.0075 \\
        --train_glob='photos/**/*.png' --run_dir=runs/gllmm-mse-0.0075

Adam at 1e-4, 1.5 million steps of 8 crops of 256 x 256 pixels, uniform noise for quantisation,
nothing else: no schedule, no clipping, no average. Both papers train so, one network per rate, and
wider networks for the higher rates (N = 192 in Cheng et al., 256 in Fu et al.).

Time: by the arithmetic of the networks, not measured. A step at N = 128 (GLLMM) takes about
2 x 10^12 multiplications and additions, so a run takes 3 x 10^18 of them: days on a fast GPU,
months on a few cores. `--precision=bfloat16` and the optimiser of experiments/configs/gllmm_n48.py
are the ways to spend less.

Expected on Kodak, as published (experiments/published/kodak.csv); bpp, then PSNR in dB or MS-SSIM
in dB, -10 log10(1 - MS-SSIM):

    lambda   gllmm-mse         cheng2020-mse       lambda   cheng2020-ms-ssim
    0.0016   0.092   27.99     0.098   27.99            3   0.118   13.31
    0.0032   0.156   29.63     0.174   29.82           12   0.271   16.87
    0.0075   0.282   31.82     0.300   31.85           40   0.483   19.79
    0.015    0.441   33.97     0.457   33.88          120   0.842   22.65
    0.03     0.646   35.96     0.679   35.63
    0.045    0.792   37.06     0.829   36.65

Where the lambdas are from. The six for MSE are those of both papers' systems; 0.0016 and 0.0075 with
N = 128 and 0.03 with N = 256 are GLLMM's released checkpoints. Each has a point on Cheng et al.'s
published curve; the slopes of the GLLMM curve tell which of its eight points belong to these six (two
more, at 0.566 and 0.906 bpp, fit 0.023 and 0.06). The four for MS-SSIM are Cheng et al.'s, from 3 to
120. GLLMM's we did not find stated (its README has none), and its MS-SSIM curve (four points from
0.074 bpp, 11.95 dB to 0.597 bpp, 21.12 dB) does not fit Cheng et al.'s: gllmm-ms-ssim takes theirs as
a choice of ours, and should lie on that curve between or beside its points.
"""

ADAM = dict(
    patch=256,
    batch=8,
    steps=1_500_000,
    optimizer="adam",
    learning_rate=1e-4,
    warmup=0,
    flat=1.0,
    clip_norm=0.0,
    ema=0.0,
    rounding="noise",
    precision="float32",
    checkpoint_every=5000,
    evaluate_every=50_000,
)

LAMBDAS = {
    "mse": (0.0016, 0.0032, 0.0075, 0.015, 0.03, 0.045),
    "ms-ssim": (3.0, 12.0, 40.0, 120.0),
}
WIDE = {"gllmm": 256, "cheng2020": 192}  # N of the upper half of the rates; 128 for the others

SETTINGS = {
    f"{system}-{metric}-{value:g}": dict(
        ADAM,
        system=system,
        num_filters=wide if i >= len(lambdas) // 2 else 128,
        lambdas=(value,),
        metric=metric,
    )
    for system, wide in WIDE.items()
    for metric, lambdas in LAMBDAS.items()
    for i, value in enumerate(lambdas)
}
