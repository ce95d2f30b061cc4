"""The mixture beside what it was fitted to: predictions and histograms of some latents.

    python -m experiments.inside.mixture_fit --image=assets/friends.png --quality=4

Above, for some channels: how often each integer occurs in the channel of one picture (outlined bars),
and how often the model said it would: the mean over the positions of the mixture's probabilities, in
the colours of the families that contribute them. A model that knows its latents fills the outlines;
that is a test of the predictions as a whole, as each position has a mixture of its own. "Differ" is
the total variation between the two, half the sum of the differences. Channels are chosen by their
rank in bits (`--ranks`).

Below, for the same channels: the mixture at one position, the most uncertain one of the channel
(largest entropy), with the integer that was there.

Writes a figure (.png) and a CSV with a row per channel and integer. Ten seconds at N = 48 on two
cores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from absl import flags
from scipy import special

from experiments.common import program, records
from experiments.common.figures import pyplot, save_png, tidy
from experiments.common.pictures import read_image
from experiments.common.program import ExperimentError
from experiments.inside import latents as inside
from experiments.inside.latents import Latents, look_inside, per_channel, title_of

COLOURS = dict(zip(("gaussian", "laplacian", "logistic"), ("#56b4e9", "#e69f00", "#009e73")))
NAMES = {"gaussian": "Gaussian", "laplacian": "Laplacian", "logistic": "logistic"}
MARGIN = 2  # integers shown beyond those that occur
CDFS = {
    "gaussian": special.ndtr,
    "laplacian": lambda z: np.where(z < 0, 0.5 * np.exp(-np.abs(z)), 1 - 0.5 * np.exp(-np.abs(z))),
    "logistic": special.expit,
}


@dataclasses.dataclass(frozen=True)
class Fit:
    """One channel.

    Attributes:
        channel: its index.
        integers: int [V], ascending.
        counts: int [V], how often each occurs.
        families: names of F families.
        predicted: float64 [F, V], expected share of each integer, family by family; the sum over
            both is 1 up to what lies beyond the integers.
        position: (row, column) of the most uncertain position.
        there: float64 [F, V], the mixture at that position.
        value: the integer that is there.
    """

    channel: int
    integers: np.ndarray
    counts: np.ndarray
    families: tuple
    predicted: np.ndarray
    position: tuple
    there: np.ndarray
    value: int


def probabilities(mixture, channel: int, integers: np.ndarray) -> np.ndarray:
    """Returns P(integer) by family at every position, float64 [h, w, F, V], from its definition."""
    parts = [getattr(mixture, name)[0, ..., channel] for name in ("weights", "means", "scales")]
    weights, means, scales = (t.numpy().astype(np.float64)[..., None] for t in parts)
    by_family = []
    for i, family in enumerate(mixture.families):
        low, high = (
            CDFS[family]((integers + half - means[:, :, i]) / scales[:, :, i])
            for half in (-0.5, 0.5)
        )  # [h, w, K, V]
        by_family.append(np.sum(weights[:, :, i] * (high - low), axis=2))
    return np.stack(by_family, axis=2)


def fit_of(latents: Latents, channel: int) -> Fit:
    """Returns the comparison of one channel."""
    values = latents.y_hat[..., channel].astype(int)
    integers = np.arange(values.min() - MARGIN, values.max() + MARGIN + 1)
    p = probabilities(latents.mixture, channel, integers)
    total = p.sum(2)  # [h, w, V]
    entropy = special.entr(total).sum(-1)
    row, column = np.unravel_index(np.argmax(entropy), entropy.shape)
    return Fit(
        channel=channel,
        integers=integers,
        counts=np.array([np.sum(values == k) for k in integers]),
        families=latents.mixture.families,
        predicted=p.mean((0, 1)),
        position=(int(row), int(column)),
        there=p[row, column],
        value=int(values[row, column]),
    )


def distance(fit: Fit) -> float:
    """Returns the total variation between histogram and prediction, from 0 (equal) to 1."""
    difference = fit.counts / fit.counts.sum() - fit.predicted.sum(0)
    return 0.5 * float(np.abs(difference).sum())


def choose_channels(latents: Latents, ranks: Sequence[int]) -> list[int]:
    """Returns the channels of these ranks in bits, 1 for the most expensive.

    Raises:
        ExperimentError: there are fewer channels.
    """
    order = np.argsort(-per_channel(latents.y_bits))
    for rank in ranks:
        if not 1 <= rank <= len(order):
            raise ExperimentError(f"--ranks: {rank} is not from 1 to {len(order)}.")
    return [int(order[rank - 1]) for rank in ranks]


def draw(fits: Sequence[Fit], ranks: Sequence[int], title: str):
    """Returns the figure: a column per channel, histogram above, one position below."""
    columns = len(fits)
    figure, axes = pyplot.subplots(
        2, columns, figsize=(3.1 * columns, 5.4), layout="constrained", squeeze=False
    )
    for column, (fit, rank) in enumerate(zip(fits, ranks)):
        _draw_histogram(axes[0, column], fit, rank)
        _draw_position(axes[1, column], fit)
        for part in axes[:, column]:
            tidy(part, grid="")
            part.locator_params(axis="x", integer=True)
    axes[0, 0].set_ylabel("share of the positions")
    axes[1, 0].set_ylabel("probability")
    families = fits[0].families
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[f], alpha=0.8) for f in families]
    labels = [NAMES[family] for family in families]
    handles.append(pyplot.Rectangle((0, 0), 1, 1, fc="none", ec="black"))
    labels.append("coded")
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_parts(axes, fit: Fit, parts: np.ndarray) -> None:
    """Stacked bars of the families' shares."""
    below = np.zeros(len(fit.integers))
    for family, part in zip(fit.families, parts):
        axes.bar(fit.integers, part, 0.92, below, color=COLOURS[family], alpha=0.8, lw=0)
        below = below + part


def _draw_histogram(axes, fit: Fit, rank: int) -> None:
    _draw_parts(axes, fit, fit.predicted)
    share = fit.counts / fit.counts.sum()
    axes.bar(fit.integers, share, 0.92, fill=False, edgecolor="black", lw=0.8)
    axes.set_title(
        f"channel {fit.channel}, rank {rank}\npredicted and coded differ by "
        f"{100 * distance(fit):.1f} %",
        loc="left",
        fontsize=9,
    )
    seen = fit.integers[share > 0.002]  # the tails are too thin to see
    axes.set_xlim(seen.min() - 1.5, seen.max() + 1.5)


def _draw_position(axes, fit: Fit) -> None:
    _draw_parts(axes, fit, fit.there)
    total = fit.there.sum(0)
    height = total[np.flatnonzero(fit.integers == fit.value)[0]]
    axes.bar(fit.value, height, 0.92, fill=False, edgecolor="black", lw=1.6)
    axes.annotate(
        f"coded: {fit.value}",
        xy=(fit.value, height),
        xytext=(fit.value, 1.15 * total.max()),
        ha="center",
        fontsize=9,
        arrowprops={"arrowstyle": "->", "lw": 0.8},
    )
    axes.set_ylim(0, 1.3 * total.max())
    row, column = fit.position
    axes.set_title(f"at row {row}, column {column}", loc="left", fontsize=9)
    seen = fit.integers[total > 0.002]
    axes.set_xlim(min(seen.min(), fit.value) - 1.5, max(seen.max(), fit.value) + 1.5)
    axes.set_xlabel("integer")


def rows_of(fits: Sequence[Fit]) -> list[dict]:
    """Returns a row per channel and integer."""
    rows = []
    for fit in fits:
        for k, count, parts in zip(fit.integers, fit.counts, fit.predicted.T):
            shares = {family: f"{p:.6f}" for family, p in zip(fit.families, parts)}
            rows.append({"channel": fit.channel, "integer": k, "count": count, **shares})
    return rows


def define_flags() -> None:
    inside.define_flags("mixture_fit")
    flags.DEFINE_list("ranks", ["1", "4", "16"], "Channels, by rank in bits.")


def main(f: flags.FlagValues) -> None:
    ranks = program.numbers("ranks", f.ranks, int)
    latents = look_inside(f.model, read_image(f.image), f.quality)
    fits = [fit_of(latents, channel) for channel in choose_channels(latents, ranks)]
    rows = rows_of(fits)
    records.write_csv(f"{f.output}.csv", list(rows[0]), rows)
    for fit in fits:
        print(f"channel {fit.channel}: total variation {distance(fit):.4f}")
    figure = draw(fits, ranks, title_of(f.model, f.image, latents))
    print(f"{f.output}.csv", save_png(figure, f.output), sep="\n")


if __name__ == "__main__":
    program.run(main, define_flags)
