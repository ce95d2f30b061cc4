"""Writes docs/models.md: every model that ships, how it was trained and what it does on Kodak.

    python -m experiments.tools.zoo_page

The facts come from the model files (configuration, record of the training, size, identity), those of
models that were measured and do not ship from experiments/results/other_models.json. The figures come
from experiments/results/kodak.csv: rows whose setting carries the model's identity, so that no figure
of another model can stand beside a name. Origins and licences of the pictures are those of
experiments/published/training_data.csv, which licences.py counts. A few seconds.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence

from absl import flags

from experiments.common import places, program, records
from experiments.common.doc_tables import markdown
from experiments.common.program import ExperimentError
from experiments.rate_distortion.results import read_rows
from experiments.tools import licences
from gllmm_tf import metrics
from gllmm_tf.config import ModelConfig
from gllmm_tf.zoo import registry

OTHERS = f"{places.RESULTS}/other_models.json"
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
[kodak.csv](../experiments/results/kodak.csv); do not edit. `gllmm models` lists the models that ship,
`gllmm compress --model NAME` uses one, `gllmm_tf.models()` returns their records. Files of other
models are found in the folders that the environment variable `GLLMM_MODELS` names; a folder may have
a `SHA256SUMS` to check them with.

Sizes on Kodak are those of complete files; averages are taken over the 24 pictures at one quality,
MS-SSIM before it is put on the decibel scale. Kodak was never trained on.
"""


# Facts ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Model:
    """What the page says about one model.

    Attributes:
        name: as for `--model`.
        identity: 16 hexadecimal digits.
        size: bytes of the file.
        config: of the networks.
        info: record of the training.
        file: path in the repository; None if it does not ship.
    """

    name: str
    identity: str
    size: int
    config: ModelConfig
    info: dict
    file: str | None = None


def shipped_model(name: str) -> Model:
    """Returns the facts of a model file of the package."""
    path, stored = registry.path_of(name), registry.read_model(name)
    file, size = os.path.relpath(path, places.ROOT), os.path.getsize(path)
    return Model(name, stored.identity.hex(), size, stored.config, stored.info, file)


def other_models(path: str = OTHERS) -> list[Model]:
    """Returns the models that were trained and measured and do not ship."""
    with open(path, encoding="utf-8") as file:
        table = json.load(file)
    models = []
    for name, row in table.items():
        config = {k: tuple(v) if isinstance(v, list) else v for k, v in row["config"].items()}
        config = ModelConfig(**config)
        models.append(Model(name, row["identity"], row["bytes"], config, row["info"]))
    return models


def all_models() -> list[Model]:
    """Returns the models in the order of the page: the default, the others that ship, the rest."""
    first = registry.default_names()
    names = sorted(registry.shipped_names(), key=lambda n: (n not in first, n))
    return [shipped_model(name) for name in names] + other_models()


def identity_row(model: Model) -> tuple[str, str]:
    """Returns the row with what no other model has: identity, file, bytes."""
    where = f"`{model.file}`" if model.file else "a file that does not ship"
    return "identity and file", f"`{model.identity}`, {where}, {model.size:,} bytes"


def network_rows(config: ModelConfig) -> list[tuple[str, object]]:
    """Returns rows about the networks."""
    trunk = ", ".join(map(str, config.trunk_widths)) if config.trunk_widths else "N, as published"
    published = {"gllmm": "GLLMM (Fu et al.)", "cheng2020": "Cheng et al."}[config.system]
    rate = "fixed"
    if config.lambdas:
        rate = f"variable, qualities {config.qualities[0]} to {config.qualities[-1]}"
    mixture = f"{config.components} components each of {', '.join(config.families)}"
    widths = " and ".join(map(str, config.entropy_widths))
    if config.base:
        below = registry.name_of(bytes.fromhex(config.base)) or config.base
        quality = registry.quality_of(bytes.fromhex(config.base), config.base_index)
        return [
            ("networks", f"an enhancement layer upon `{below}` at quality {quality:g}"),
            ("channels", config.num_filters),
            ("mixture", mixture),
            ("entropy parameter widths", widths),
            ("rate", rate),
        ]
    apart: list[tuple[str, object]] = []
    if config.hyper_filters:
        apart.append(("channels of z", config.hyper_filters))
    if config.deep_filters:
        apart.append(("channels of y that go through the blocks at 1/16", config.deep_filters))
    return [
        ("networks", f"{published}, N = {config.num_filters}"),
        ("channels of `g_a` and `g_s` at 1/2, 1/4, 1/8", trunk),
        *apart,
        ("residual pairs per module", config.stages),
        ("mixture", mixture),
        ("entropy parameter widths", widths),
        ("rate", rate),
    ]


def training_rows(model: Model) -> list[tuple[str, object]]:
    """Returns rows about the training, from the record in the model file."""
    info = model.info
    distortion = {"mse": "lambda 255^2 MSE + bpp", "ms-ssim": "lambda (1 - MS-SSIM) + bpp"}
    rows = [("loss", distortion.get(info.get("metric"), info.get("metric", "not recorded")))]
    rows.append(("lambda", ", ".join(f"{v:g}" for v in info.get("lambdas", [])) or "not recorded"))
    rows += [(label, shown(key, info[key])) for key, label in LABELS.items() if key in info]
    if info.get("started_from"):
        parts = list(parts_of(info))
        for key in ("steps", "pixels_seen"):
            known = all(part.get(key) is not None and "started_from" in part for part in parts)
            total = sum(part[key] for part in parts) if known else None
            rows.append((f"{LABELS[key]}, with those of its starts", shown(key, total)))
    others = [key for key in sorted(info) if key not in LABELS and key not in ELSEWHERE]
    rows += [(key.replace("_", " "), shown(key, info[key])) for key in others]
    held_out = (info.get("validation") or {}).get("loss")
    if held_out is not None:
        rows.append(("loss on held-out photographs", f"{held_out:.4f}"))
    return [*rows, ("command", command_of(model))]


def parts_of(info: dict) -> Iterator[dict]:
    """Yields the records of a training and of those that it started from."""
    while info:
        yield info
        info = info.get("started_from")


def shown(key: str, value) -> str:
    """Returns a value of a record in words."""
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
            facts.append(shown("pixels_seen", value["pixels_seen"]))
        before = value.get("started_from")
        return ", ".join(facts) + (f"; that from {shown(key, before)}" if before else "")
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return text or "not recorded"


def command_of(model: Model) -> str:
    """Returns the command of a training: the recorded one, or that of its file in configs/."""
    if model.info.get("command"):
        return f"`{model.info['command']}`"
    if model.config.base:
        source = "experiments/training/enhancement.py"
        crops, steps = model.info.get("crops"), model.info.get("steps")
        return (
            f"`python -m experiments.training.enhancement --crops={crops} --steps={steps} "
            f"--train_glob=... --output=...` ([{os.path.basename(source)}](../{source}))"
        )
    config = f"experiments/configs/{model.name.replace('-', '_')}.py"
    if os.path.exists(os.path.join(places.ROOT, config)):
        return (
            f"`python train.py --config={config} --train_glob=... --run_dir=...` "
            f"([{os.path.basename(config)}](../{config}))"
        )
    return "not recorded"


# Figures --------------------------------------------------------------------------------------


def kodak_rows(model: Model, rows: Sequence[dict]) -> list[str]:
    """Returns the table of a model's averages over Kodak; a sentence if there are none.

    Args:
        model: whose identity the rows have to carry.
        rows: as from `results.read_rows`.
    """
    groups = collections.defaultdict(list)
    for row in rows:
        quality, at, rounds = row["setting"].partition(f"@{model.identity}")
        if at:
            groups[quality, rounds[1:]].append(row)
    if not groups:
        return ["Not measured on Kodak."]
    images = {len({row["image"] for row in group}) for group in groups.values()}
    if len(images) != 1:
        raise ExperimentError(
            f"{model.name}: its qualities were measured on different numbers of pictures, "
            f"{sorted(images)}; run rate_distortion.py again."
        )
    cells = []
    for (quality, rounds), group in sorted(groups.items(), key=lambda item: _order(*item[0])):
        bpp, psnr, ms_ssim = (
            math.fsum(row[k] for row in group) / len(group) for k in ("bpp", "psnr", "ms_ssim")
        )
        label = f"{quality}, `--refine {rounds}`" if rounds else quality
        decibel = metrics.ms_ssim_db(ms_ssim)
        cells.append([label, f"{bpp:.4f}", f"{psnr:.2f}", f"{ms_ssim:.4f}", f"{decibel:.2f}"])
    head = ("quality", "bpp", "PSNR, dB", "MS-SSIM", "MS-SSIM, dB")
    return [f"Kodak, {images.pop()} pictures:", "", *markdown(head, "r", cells)]


def _order(quality: str, rounds: str) -> tuple[int, float]:
    try:
        return int(rounds or 0), float(quality)
    except ValueError:  # the name of a model of fixed rate
        return int(rounds or 0), 0.0


def data_rows() -> list[str]:
    """Returns the section about the training pictures."""
    with open(licences.OUTPUT, newline="") as file:
        rows = list(csv.DictReader(file))
    count = sum(int(row["pictures"]) for row in rows)
    text = (
        f"{count} photographs were collected; [training_pictures.md](training_pictures.md) lists them. A "
        "model's record says on how many it was trained; the rest was held out for validation, or "
        "omitted, as the two of [the sample photographs](../assets/CREDITS.md). None is part of this "
        "repository."
    )
    cells = [[row[field] for field in licences.FIELDS] for row in rows]
    return [text, "", *markdown(licences.FIELDS, "llr", cells)]


# Page -----------------------------------------------------------------------------------------


def facts_of(model: Model) -> list[str]:
    """Returns the lines of the table of a model."""
    rows = [identity_row(model), *network_rows(model.config), *training_rows(model)]
    return markdown(("", ""), "l", rows)


def page(rows: Sequence[dict]) -> str:
    """Returns the page; `rows` are those of Kodak, from `results.read_rows`."""
    parts = [HEADER]
    for model in all_models():
        title = f"## {model.name}"
        higher = registry.DEFAULT_CONTINUATION
        if model.name == registry.DEFAULT_MODEL:
            title += ", the default" + (f" up to quality {higher.above:g}" if higher else "")
        elif higher and model.name == higher.name:
            title += f", the default above quality {higher.above:g}"
        elif model.file is None:
            title += ", does not ship"
        parts.append("\n".join([title, "", *facts_of(model), "", *kodak_rows(model, rows), ""]))
    parts.append("\n".join(["## Training pictures", "", *data_rows(), ""]))
    return "\n".join(parts)


def define_flags() -> None:
    results = f"{places.RESULTS}/kodak.csv"
    flags.DEFINE_string("results", results, "Figures, of rate_distortion.py.")
    flags.DEFINE_string("output", f"{places.DOCS}/models.md", "The page.")


def main(f: flags.FlagValues) -> None:
    records.write_text(f.output, page(read_rows(f.results)))
    print(f.output)


if __name__ == "__main__":
    program.run(main, define_flags)
