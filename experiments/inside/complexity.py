"""How large are the networks, how much do they compute, how long do they take?

    python -m experiments.inside.complexity                              # counts
    python -m experiments.inside.complexity --image=assets/friends.png   # and seconds, best when idle

Parameters and multiply-accumulates (MAC) are counted, network by network, from the convolutions that
the layers make: no figure depends on a machine. Counted are the published configurations, GLLMM and
Cheng et al. at N = 128, 192 and 256, and every model that ships.

    g_a, g_s   analysis and synthesis, at 1/1 to 1/16 of the resolution
    h_a, h_s   hyper analysis and synthesis
    entropy    context and entropy parameters, once per latent position. Of the 5 x 5 causal kernel
               the 12 taps that are used are counted, not the 13 that are masked
    encoder    g_a + h_a + h_s + entropy;   decoder   h_s + entropy + g_s

The arithmetic of the distributions themselves (exponentials, CDFs), GDN's square roots and the range
coder are no MACs and are omitted; GDN's matrix is in. MACs are per pixel of a padded picture.

Seconds are those of the stages of `gllmm_tf.Codec` for the models that ship, at their default quality:
the median of `--repeats` warm calls. They depend on the machine and on what else it does.

Writes CSVs and tables to experiments/results, and the tables into docs/figures.md.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Sequence

import tensorflow as tf
from absl import flags
from tqdm import tqdm

import gllmm_tf
from experiments.common import doc_tables, places, program, records
from experiments.common.pictures import read_image
from gllmm_tf import config as config_lib
from gllmm_tf.model import compression as model_lib
from gllmm_tf.model import enhancement
from gllmm_tf.zoo import registry

FIELDS = ("model", "part", "parameters", "mac_per_pixel")
PARTS = ("g_a", "g_s", "h_a", "h_s", "entropy")
ENCODER = ("g_a", "h_a", "h_s", "entropy")
DECODER = ("h_s", "entropy", "g_s")
SIDE = 256  # pixels of the square picture that is counted; any multiple of 64 gives the same


@dataclasses.dataclass(frozen=True)
class Complexity:
    """Counts of one model: {part: parameters}, {part: MAC per pixel}."""

    parameters: dict
    macs: dict

    @property
    def encoder(self) -> float:
        """MAC per pixel of the encoder."""
        return sum(self.macs[part] for part in ENCODER)

    @property
    def decoder(self) -> float:
        """MAC per pixel of the decoder."""
        return sum(self.macs[part] for part in DECODER)


def count_macs(function, *shapes: Sequence[int]) -> int:
    """Returns the multiply-accumulates of the convolutions that a function makes.

    Args:
        function: of float32 tensors, of layers that are built.
        shapes: of its arguments, without unknown sizes.

    Raises:
        ValueError: the function makes a matrix product that is no 2-D convolution.
    """
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    total = 0
    for op in graph.get_operations():
        if op.type == "Conv2D":
            batch, height, width, _ = op.outputs[0].shape
        elif op.type == "Conv2DBackpropInput":  # a transposed convolution: taps per input sample
            batch, height, width, _ = op.inputs[2].shape
        elif "Conv" in op.type or "MatMul" in op.type or "Call" in op.type or op.type == "Einsum":
            raise ValueError(f"operation {op.type} is not counted")
        else:
            continue
        total += batch * height * width * op.inputs[1].shape.num_elements()  # kernel
    return total


def complexity_of(config: config_lib.ModelConfig) -> Complexity:
    """Returns the counts of a configuration; those of an enhancement layer are without its base."""
    if config.base:
        return _complexity_of_layer(config)
    model = model_lib.build(config)
    n, entropy = config.num_filters, model.entropy_parameters
    x = (1, SIDE, SIDE, 3)
    y = (1, SIDE // config_lib.LATENT_STRIDE, SIDE // config_lib.LATENT_STRIDE, n)
    z = (1, *2 * (SIDE // config_lib.IMAGE_MULTIPLE,), config.z_filters)
    parts = {
        "g_a": (model.g_a, x),
        "g_s": (model.g_s, y),
        "h_a": (model.h_a, y),
        "h_s": (model.h_s, z),
        "entropy": (entropy, y, (*y[:3], 2 * n)),
    }
    return _counted(parts, entropy, y)


def _complexity_of_layer(config):
    layer = enhancement.EnhancementLayer(config)
    layer.build_layers()
    n, entropy = config.num_filters, layer.entropy_parameters
    x = (1, SIDE, SIDE, 3)
    r = (1, *2 * (SIDE // config_lib.LAYER_STRIDE,), n)
    y = (1, *2 * (SIDE // config_lib.LATENT_STRIDE,), config.hyper_filters)
    parts = {
        "g_a": (layer.g_a, x),
        "g_s": (layer.g_s, r),
        "h_s": (layer.h_s, y),
        "entropy": (entropy, r, (*r[:3], 2 * n)),
    }
    return _counted(parts, entropy, r)


def _counted(parts, entropy, y):
    """`Complexity` of {part: (layer, shapes)}; the context's kernel is masked, y is what it sees."""
    kernel = entropy.context.kernel.shape  # [5, 5, N, 2 N]
    masked = (kernel[0] * kernel[1] - kernel[0] * kernel[1] // 2) * kernel[2] * kernel[3]
    parameters, macs = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    for part, (layer, *shapes) in parts.items():
        parameters[part] = sum(v.shape.num_elements() for v in layer.trainable_weights)
        macs[part] = count_macs(layer, *shapes)
    parameters["entropy"] -= masked
    macs["entropy"] -= masked * y[1] * y[2]
    return Complexity(parameters, {part: count / SIDE**2 for part, count in macs.items()})


def configurations() -> dict[str, config_lib.ModelConfig]:
    """Returns name -> configuration of what is compared."""
    table = {}
    for name, make in (("GLLMM", config_lib.gllmm), ("Cheng et al.", config_lib.cheng2020)):
        table.update({f"{name}, N = {n}": make(n) for n in (128, 192, 256)})
    table.update(
        {f"`{name}`": registry.read_model(name).config for name in registry.shipped_names()}
    )
    return table


def format_counts(counts: dict[str, Complexity]) -> str:
    """Returns the counts as Markdown."""
    head = ["", "parameters", "in `entropy`", "kMAC per pixel: encoder", "decoder"]
    rows = []
    for name, c in counts.items():
        total, entropy = sum(c.parameters.values()), c.parameters["entropy"]
        macs = [c.encoder, c.decoder, *(c.macs[part] for part in PARTS)]
        millions = [f"{count / 1e6:.1f} M" for count in (total, entropy)]
        rows.append([name, *millions, *(f"{count / 1e3:.1f}" for count in macs)])
    head += [f"`{part}`" for part in PARTS]
    return "\n".join(doc_tables.markdown(head, "lr", rows))


def rows_of(counts: dict[str, Complexity]) -> list[dict]:
    """Returns a row per model and part."""
    return [
        dict(zip(FIELDS, (name, part, c.parameters[part], f"{c.macs[part]:.3f}")))
        for name, c in counts.items()
        for part in PARTS
    ]


def stage_seconds(codec, image, repeats: int) -> dict[str, float]:
    """Returns {stage: median seconds} of warm calls of the codec at its default quality."""
    runs = []
    for _ in range(repeats + 1):
        encoded = codec.encode(image)
        decoded = codec.decode(encoded.data)
        times = {f"encoding: {stage}": s for stage, s in encoded.seconds.items()}
        times.update({f"decoding: {stage}": s for stage, s in decoded.seconds.items()})
        runs.append(times)
    return {stage: statistics.median(run[stage] for run in runs[1:]) for stage in runs[0]}


def format_seconds(seconds: dict[str, dict], size: tuple[int, int], repeats: int) -> str:
    """Returns the seconds per stage as Markdown, stages below 5 ms omitted."""
    stages = dict.fromkeys(stage for times in seconds.values() for stage in times)
    stages = [s for s in stages if max(times.get(s, 0) for times in seconds.values()) >= 0.005]
    rows = [[f"`{n}`", *(f"{times[s]:.2f}" for s in stages)] for n, times in seconds.items()]
    about = (
        f"Seconds for {size[1]} x {size[0]} pixels, median of {repeats} warm calls, "
        f"{os.cpu_count()} CPU cores."
    )
    return "\n".join([about, "", *doc_tables.markdown(["", *stages], "lr", rows)])


def define_flags() -> None:
    flags.DEFINE_string("image", None, "Picture for the seconds; without it only counts.")
    flags.DEFINE_integer("repeats", 5, "Warm calls per model.", lower_bound=1)
    output = f"{places.RESULTS}/complexity"
    flags.DEFINE_string("output", output, "Beginning of the files' paths.")
    program.define_page("figures.md")


def main(f: flags.FlagValues) -> None:
    table = configurations()
    counts = {name: complexity_of(table[name]) for name in tqdm(table, unit="model")}
    records.write_csv(f"{f.output}.csv", FIELDS, rows_of(counts))
    texts = {"complexity": format_counts(counts)}
    if f.image:
        image = read_image(f.image)
        seconds = {
            name: stage_seconds(gllmm_tf.Codec.load(name), image, f.repeats)
            for name in registry.shipped_names()
        }
        texts["seconds"] = format_seconds(seconds, image.shape[:2], f.repeats)
    for name, text in texts.items():
        print(text + "\n")
        suffix = "" if name == "complexity" else f"_{name}"
        records.write_text(f"{f.output}{suffix}.md", text + "\n")
        if f.page:
            doc_tables.insert(f.page, name, text)


if __name__ == "__main__":
    program.run(main, define_flags)
