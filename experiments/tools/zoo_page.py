"""Writes docs/models.md: every model that ships, how it was trained and what it does on Kodak.

    python -m experiments.tools.zoo_page

The facts come from the model files (configuration, record of the training, size, identity), the
figures from experiments/results/kodak.csv: rows whose setting carries the model's identity, so that
no figure of another model can stand beside a name. The data's origins and licences are those of
experiments/published/training_data.csv, which

    python -m experiments.tools.zoo_page --manifest=MANIFEST.csv

counts anew from a list of the training pictures with the columns `origin` and `licence`.
"""

from __future__ import annotations

import collections
import csv
import math
import os
import re
from collections.abc import Sequence

from absl import app, flags

from experiments.common.coders import ExperimentError
from experiments.common.doc_tables import DOCS
from experiments.rate_distortion import rate_distortion
from gllmm_tf.errors import GllmmError
from gllmm_tf.files.images import write_bytes_atomic
from gllmm_tf.zoo import registry

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "published", "training_data.csv")
DATA_FIELDS = ["licence", "origin", "pictures"]
LICENCES = [  # (what a manifest says, what it is called here); the first that fits
    (r"/", None),  # several, per file: as the manifest says it
    (r"CC0|public domain", "CC0 or public domain"),
    (r"CC[- ]BY-SA[- ](\d)", r"CC-BY-SA-\1.0"),
    (r"(?:CC[- ]BY[- ]|Attribution )(\d)", r"CC-BY-\1.0"),
    (r"(Unsplash|Pexels|Pixabay)", r"\1 licence"),
]
LABELS = {  # of the record of a training, in the order of the page
    "steps": "steps",
    "pixels_seen": "pixels seen",
    "batch": "crops per step",
    "patch": "side of a crop, pixels",
    "training_pictures": "training pictures",
    "seconds": "time in training steps",
    "hardware": "hardware",
    "optimizer": "optimiser",
    "learning_rate": "peak learning rate",
    "precision": "convolutions in",
    "ema": "decay of the weight average",
    "seed": "seed",
    "skipped_steps": "steps skipped as not finite",
    "revision": "revision of the code",
}
ELSEWHERE = {"name", "lambdas", "metric", "command", "validation"}  # shown in another way, or not

HEADER = """# Models

Made by `python -m experiments.tools.zoo_page` from the model files and from
[kodak.csv](../experiments/results/kodak.csv); do not edit. `gllmm models` lists the same models,
`gllmm compress --model NAME` uses one, `gllmm_tf.models()` returns their records. Those in
`gllmm_tf/models` are part of the package. Others are found in a checkout, and wherever the environment
variable `GLLMM_MODELS` names their folder, which may have a `SHA256SUMS` to check them with.

Sizes on Kodak are those of complete files; averages are taken over the 24 pictures at one quality,
MS-SSIM before it is put on the decibel scale. Kodak was never trained on.
"""


# Facts ----------------------------------------------------------------------------------------


def identity_row(name: str) -> str:
    """Returns the line with what no other model has: identity, file, bytes."""
    path = registry.path_of(name)
    file, size = os.path.relpath(path, os.path.dirname(HERE)), os.path.getsize(path)
    identity = registry.read_model(name).identity.hex()
    return f"| identity and file | `{identity}`, `{file}`, {size:,} bytes |"


def network_rows(name: str) -> list[str]:
    """Returns lines about the networks."""
    config = registry.read_model(name).config
    trunk = ", ".join(map(str, config.trunk_widths)) if config.trunk_widths else "N, as published"
    published = {"gllmm": "GLLMM (Fu et al.)", "cheng2020": "Cheng et al."}[config.system]
    rows = [
        ("networks", f"{published}, N = {config.num_filters}"),
        ("channels of `g_a` and `g_s` at 1/2, 1/4, 1/8", trunk),
        ("residual pairs per module", config.stages),
        ("mixture", f"{config.components} components each of {', '.join(config.families)}"),
        ("entropy parameter widths", " and ".join(map(str, config.entropy_widths))),
        ("rate", f"variable, qualities 1 to {config.num_qualities}" if config.lambdas else "fixed"),
    ]
    return [f"| {label} | {value} |" for label, value in rows]


def training_rows(name: str) -> list[str]:
    """Returns lines about the training, from the record in the model file."""
    info = registry.read_model(name).info
    distortion = {"mse": "lambda 255^2 MSE + bpp", "ms-ssim": "lambda (1 - MS-SSIM) + bpp"}
    rows = [("loss", distortion.get(info.get("metric"), info.get("metric", "not recorded")))]
    rows.append(("lambda", ", ".join(f"{v:g}" for v in info.get("lambdas", [])) or "not recorded"))
    rows += [(label, _shown(key, info[key])) for key, label in LABELS.items() if key in info]
    if info.get("started_from"):
        parts = list(_parts(info))
        for key in ("steps", "pixels_seen"):
            known = all(part.get(key) is not None and "started_from" in part for part in parts)
            total = sum(part[key] for part in parts) if known else None
            rows.append((f"{LABELS[key]}, with those of its starts", _shown(key, total)))
    others = [key for key in sorted(info) if key not in LABELS and key not in ELSEWHERE]
    rows += [(key.replace("_", " "), _shown(key, info[key])) for key in others]
    held_out = (info.get("validation") or {}).get("loss")
    if held_out is not None:
        rows.append(("loss on held-out photographs", f"{held_out:.4f}"))
    rows.append(("command", _command(name, info)))
    return [f"| {label} | {value} |" for label, value in rows]


def _parts(info: dict):
    """Yields the records of a training and of those that it started from."""
    while info:
        yield info
        info = info.get("started_from")


def _shown(key: str, value) -> str:
    if value is None:
        return "random weights" if key == "started_from" else "not recorded"
    if key == "seconds":
        return f"{value / 3600:.1f} hours" if value >= 3600 else f"{value / 60:.1f} minutes"
    if key == "pixels_seen":
        return f"{value / 1e9:.2f} gigapixels"
    if key == "revision":
        return f"`{value}`" if value else "not recorded"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if key == "started_from" and value:
        facts = [f"`{value['identity']}`"]
        if value.get("steps") is not None:
            facts.append(f"{value['steps']:,} steps")
        if value.get("pixels_seen") is not None:
            facts.append(_shown("pixels_seen", value["pixels_seen"]))
        before = value.get("started_from")
        return ", ".join(facts) + (f"; that from {_shown(key, before)}" if before else "")
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return text or "not recorded"


def _command(name: str, info: dict) -> str:
    if info.get("command"):
        return f"`{info['command']}`"
    config = f"train_{name.replace('-', '_')}.py"
    if os.path.exists(os.path.join(HERE, config)):
        return (
            f"`python train.py --config=experiments/{config} --train_glob=... --run_dir=...` "
            f"([{config}](../experiments/{config}))"
        )
    return "not recorded"


def kodak_rows(name: str, rows: Sequence[dict]) -> list[str]:
    """Returns the table of a model's averages over Kodak; a sentence if there are none.

    Args:
        name: of the model.
        rows: as from `rate_distortion.read_rows`.
    """
    identity = registry.read_model(name).identity.hex()
    groups = collections.defaultdict(list)
    for row in rows:
        quality, at, rounds = row["setting"].partition(f"@{identity}")
        if at:
            groups[quality, rounds[1:]].append(row)
    if not groups:
        return ["Not measured on Kodak."]
    images = {len({row["image"] for row in group}) for group in groups.values()}
    if len(images) != 1:
        raise ExperimentError(
            f"{name}: its qualities were measured on different numbers of pictures, {sorted(images)}; "
            "run rate_distortion.py again."
        )
    lines = [
        f"Kodak, {images.pop()} pictures:",
        "",
        "| quality | bpp | PSNR, dB | MS-SSIM | MS-SSIM, dB |",
        "|---:|---:|---:|---:|---:|",
    ]
    for (quality, rounds), group in sorted(groups.items(), key=lambda item: _order(*item[0])):
        bpp, psnr, ms_ssim = (
            math.fsum(row[k] for row in group) / len(group) for k in ("bpp", "psnr", "ms_ssim")
        )
        decibel = -10 * math.log10(1 - ms_ssim)
        label = f"{quality}, `--refine {rounds}`" if rounds else quality
        lines.append(f"| {label} | {bpp:.4f} | {psnr:.2f} | {ms_ssim:.4f} | {decibel:.2f} |")
    return lines


def _order(quality: str, rounds: str) -> tuple[int, float]:
    try:
        return int(rounds or 0), float(quality)
    except ValueError:  # the name of a model of fixed rate
        return int(rounds or 0), 0.0


# Data -----------------------------------------------------------------------------------------


def count_licences(manifest: str) -> list[dict]:
    """Returns a row per licence and origin of a list of pictures.

    Raises:
        ExperimentError: the file cannot be read or has not the columns `origin` and `licence`.
    """
    try:
        with open(manifest, newline="") as file:
            counts = collections.Counter(
                (_licence(row["licence"]), _origin(row["origin"])) for row in csv.DictReader(file)
            )
    except OSError as error:
        raise ExperimentError(f"{manifest}: {error.strerror}.") from None
    except KeyError as error:
        raise ExperimentError(f"{manifest}: has no column {error}.") from None
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [dict(zip(DATA_FIELDS, (*key, count))) for key, count in ordered]


def _licence(text: str) -> str:
    text = re.sub(r"https?://\S+", "", text).strip()
    text = re.sub(r"\((?:repo|README|debian/|Debian|Attribution)[^)]*\)", "", text).strip(" :,")
    for pattern, name in LICENCES:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return match.expand(name) if name else text
    quoted = re.search(r'"([^"]+)"', text)
    return quoted[1] if quoted else text


def _origin(text: str) -> str:
    return re.sub(r"\s*@[0-9a-f]+$", "", text).replace("github:", "")


def data_rows() -> list[str]:
    """Returns the section about the training pictures."""
    with open(DATA, newline="") as file:
        rows = list(csv.DictReader(file))
    count = sum(int(row["pictures"]) for row in rows)
    lines = [
        f"{count} photographs of about one megapixel were collected. A model's record says on how many "
        "it was trained; the rest was held out for validation, or left out, as the two of "
        "[the sample photographs](../assets/CREDITS.md). None is part of this repository.",
        "",
        "| licence | origin | pictures |",
        "|---|---|---:|",
    ]
    return lines + [f"| {row['licence']} | {row['origin']} | {row['pictures']} |" for row in rows]


# Page -----------------------------------------------------------------------------------------


def page(rows: Sequence[dict]) -> str:
    """Returns the page; `rows` are those of Kodak, from `rate_distortion.read_rows`."""
    inside = registry.shipped_names()
    names = sorted(
        registry.names(), key=lambda n: (n != registry.DEFAULT_MODEL, n not in inside, n)
    )
    parts = [HEADER]
    for name in names:
        default = ", the default" if name == registry.DEFAULT_MODEL else ""
        facts = [identity_row(name), *network_rows(name), *training_rows(name)]
        table = "\n".join(["| | |", "|---|---|", *facts])
        parts.append(
            f"## {name}{default}\n\n{table}\n\n" + "\n".join(kodak_rows(name, rows)) + "\n"
        )
    parts.append("## Training pictures\n\n" + "\n".join(data_rows()) + "\n")
    return "\n".join(parts)


def define_flags() -> None:
    """Defines the flags of the command; not at import, where other commands' would meet them."""
    flags.DEFINE_string(
        "results", os.path.join(HERE, "results", "kodak.csv"), "Figures, of rate_distortion.py."
    )
    flags.DEFINE_string("manifest", "", "List of training pictures to count licences from.")
    flags.DEFINE_string("output", os.path.join(DOCS, "models.md"), "The page.")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]}.")
    f = flags.FLAGS
    try:
        if f.manifest:
            counted = count_licences(f.manifest)
            with open(DATA, "w", newline="") as file:
                writer = csv.DictWriter(file, DATA_FIELDS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(counted)
        text = page(rate_distortion.read_rows(f.results))
        write_bytes_atomic(f.output, text.encode())
    except (ExperimentError, GllmmError) as error:
        raise SystemExit(str(error)) from None
    print(f.output)


if __name__ == "__main__":
    define_flags()
    app.run(main)
