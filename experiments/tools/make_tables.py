"""Makes `gllmm_tf/coding/tables_v1.npz`, the integer tables that all exact coding rests on.

    python -m experiments.tools.make_tables OUT.npz

Run once per format version: decoders load the file and never evaluate exp or a CDF themselves, so the
file in the package is the definition and this program documents it. Needs SciPy; seconds.
"""

import numpy as np
from absl import flags
from scipy import special

from experiments.common import program

# The standardised CDFs at u = -U, ..., U in steps of 1 / R, in units of 2^-24.
CDF_RANGE, CDF_RESOLUTION, CDF_BITS = 16, 256, 24
# exp(-i / 256) in units of 2^-20.
EXP_RANGE, EXP_RESOLUTION, EXP_BITS = 16, 256, 20
# Binary distributions: a grid of log-odds, as frequencies of the symbol 0 out of 2^16.
LOG_ODDS_RANGE, LOG_ODDS_STEPS, FREQUENCY_BITS = 11.0, 4096, 16


def make_tables() -> dict[str, np.ndarray]:
    """`{name: int32 array}`: cdf [3, 2 U R + 1], exp [16 * 256 + 1], frequency [rows] ascending."""
    u = np.arange(-CDF_RANGE * CDF_RESOLUTION, CDF_RANGE * CDF_RESOLUTION + 1) / CDF_RESOLUTION
    laplace = np.where(u < 0, 0.5 * np.exp(-np.abs(u)), 1 - 0.5 * np.exp(-np.abs(u)))
    cdf = np.stack([special.ndtr(u), laplace, special.expit(u)])
    exp = np.exp(-np.arange(EXP_RANGE * EXP_RESOLUTION + 1) / EXP_RESOLUTION)
    log_odds = np.linspace(-LOG_ODDS_RANGE, LOG_ODDS_RANGE, LOG_ODDS_STEPS)
    total = 2**FREQUENCY_BITS
    frequency = np.unique(np.clip(np.round(special.expit(log_odds) * total), 1, total - 1))
    return {
        "cdf": np.round(cdf * 2**CDF_BITS).astype(np.int32),
        "exp": np.round(exp * 2**EXP_BITS).astype(np.int32),
        "frequency": frequency.astype(np.int32),
    }


def main(f: flags.FlagValues, output: str) -> None:
    del f
    np.savez_compressed(output, **make_tables())
    print(output)


if __name__ == "__main__":
    program.run(main, arguments=["OUT.npz"])
