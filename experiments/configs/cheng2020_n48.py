"""cheng2020-n48, the counterpart of gllmm-n48: Cheng et al. (2020), GMM and attention, N = 48.

    python train.py --config=experiments/configs/cheng2020_n48.py \\
        --train_glob='photos/**/*.jpg' --run_dir=runs/cheng2020_n48

Everything is as in `gllmm_n48.py` but the system: residual blocks instead of concatenated modules, a
mixture of three Gaussians, and 640 hidden units instead of 1280 in the last layer of entropy parameters.
So the two differ by what Fu et al. (2021) changed, and by nothing else.
"""

from experiments.configs.gllmm_n48 import SETTINGS as GLLMM

SETTINGS = {
    **GLLMM,
    "system": "cheng2020",
    "families": ("gaussian",),
    "stages": 1,
    "entropy_widths": (640, 640),
}
