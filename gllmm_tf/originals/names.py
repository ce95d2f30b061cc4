"""Weights under the names of the original code: the one import path for published parameters.

`original_variables(model)` pairs every variable scope of the released code of Cheng et al. and Fu et
al. with the variable of ours that holds it. Kernels there are the spatial kernels, shape (height,
width, in, out); what the originals declare with `corr=False` is a true convolution and is reversed
along both spatial axes on the way in. Scopes are those of the TensorFlow 1 graphs, including their
quirks (`Block_1_layer_2_1` is the second layer that the code calls `Block_1_layer_2`).
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gllmm_tf.errors import ModelError

if TYPE_CHECKING:
    from gllmm_tf.model.compression import CompressionModel

# `convert` maps the original array to ours.
Entry = collections.namedtuple("Entry", "variable convert")


def _same(array):
    return array


def _reversed(array):
    return array[::-1, ::-1]


def original_variables(model: CompressionModel) -> dict[str, Entry]:
    """`{original name: Entry}` for a fixed-rate model of a published configuration.

    Raises:
        ModelError: for more than two stages or variable rate, which have no original.
    """
    if model.config.stages > 2 or model.gains is not None:
        raise ModelError(
            "only fixed-rate models with one or two residual stages have original names; "
            f"this one has {model.config.stages} stages and lambdas {model.config.lambdas}"
        )
    names: dict[str, Entry] = {}
    _analysis(names, model.g_a)
    _synthesis(names, model.g_s)
    for i, layer in enumerate(model.h_a.path):
        _conv(names, f"hyper_analysis/layer_{i}", layer)
    for i, layer in enumerate(model.h_s.path):
        _conv(names, f"hyper_synthesis/layer_{i}", layer, _reversed)
    entropy = model.entropy_parameters
    names["entropy_parameter/masked/weights"] = Entry(entropy.context.kernel, _same)
    names["entropy_parameter/masked/biases"] = Entry(entropy.context.bias, _same)
    for i, layer in enumerate([*entropy.hidden, entropy.last]):
        _conv(names, f"entropy_parameter/layer_{i}", layer)
    return names


def load_original(model: CompressionModel, arrays: Mapping[str, np.ndarray]) -> None:
    """Assigns `{original name: array}` to a built model.

    Raises:
        ModelError: names what is missing, unknown or of another shape; nothing is assigned then.
    """
    names = original_variables(model)
    problems = [f"missing {name}" for name in names if name not in arrays]
    problems += [f"unknown {name}" for name in arrays if name not in names]
    for name in set(names) & set(arrays):
        wanted = tuple(names[name].variable.shape)
        if tuple(arrays[name].shape) != wanted:
            problems.append(f"{name} has shape {tuple(arrays[name].shape)}, wanted {wanted}")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ModelError("weights do not fit the model: " + "; ".join(problems[:5]) + more)
    for name, entry in names.items():
        value = entry.convert(np.asarray(arrays[name], np.float32))
        entry.variable.assign(value)


class _GDNValue:
    """Assigns the value of a GDN parameter, which is stored as sqrt(value + 2^-36)."""

    OFFSET = 2.0**-36

    def __init__(self, parameter):
        self.parameter = parameter

    @property
    def shape(self):
        return self.parameter.variable.shape

    def assign(self, value):
        stored = np.sqrt(np.maximum(np.asarray(value, np.float64), 0) + self.OFFSET)
        self.parameter.variable.assign(stored.astype(np.float32))


def _conv(names, scope, layer, convert=_same):
    names[f"{scope}/kernel"] = Entry(layer.kernel, convert)
    if layer.bias is not None:
        names[f"{scope}/bias"] = Entry(layer.bias, _same)


def _gdn(names, scope, layer):
    names[f"{scope}/beta"] = Entry(_GDNValue(layer.beta_parameter), _same)
    names[f"{scope}/gamma"] = Entry(_GDNValue(layer.gamma_parameter), _same)


def _attention(names, scope, block):
    for branch, units in (("trunk", block.trunk), ("attention", block.attention)):
        for i, unit in enumerate(units):
            for j, conv in enumerate(unit.convs):
                _conv(names, f"{scope}/{branch}_RB_{i}/conv{j}", conv)
    _conv(names, f"{scope}/conv_1x1", block.conv)


def _module_convs(module):
    blocks = getattr(module, "blocks", [module])
    return [conv for block in blocks for conv in block.convs]


def _analysis(names, g_a):
    suffix = "_1" if g_a.stages == 2 else ""
    for i in range(4):
        scope = f"analysis/Block_{i}"
        if i > 0:
            for j, conv in enumerate(_module_convs(g_a.modules[i - 1])):
                _conv(names, f"{scope}_layer_{j}", conv)
        repeated = suffix if i > 0 else ""
        if i < 3:
            down = g_a.downs[i]
            _conv(names, f"{scope}_shortcut", down.shortcut)
            _conv(names, f"{scope}_layer_2{repeated}", down.down)
            _conv(names, f"{scope}_layer_3{repeated}", down.conv)
            _gdn(names, f"{scope}_layer_3{repeated}/gdn", down.gdn)
        else:
            _conv(names, f"{scope}_layer_2{repeated}", g_a.last)
    for i, block in enumerate(g_a.attentions):
        _attention(names, f"analysis/NLAB_{i}", block)


def _synthesis(names, g_s):
    for i in range(4):
        scope = f"synthesis/Block_{i}"
        # The second pair of a concatenated module sits inside the scope of the first pair's end, and
        # is declared with corr=True, unlike everything around it.
        for j, conv in enumerate(_module_convs(g_s.modules[i])):
            inside = f"/Block_{i}_layer_{j}" if j > 1 else ""
            layer_scope = f"{scope}_layer_{min(j, 1)}{inside}"
            _conv(names, layer_scope, conv, _same if j > 1 else _reversed)
        if i < 3:
            up = g_s.ups[i]
            _conv(names, f"{scope}_shortcut", up.shortcut, _reversed)
            _conv(names, f"{scope}_layer_2", up.up, _reversed)
            _conv(names, f"{scope}_layer_3", up.conv, _reversed)
            _gdn(names, f"{scope}_layer_3/igdn", up.igdn)
        else:
            _conv(names, f"{scope}_layer_2", g_s.last, _reversed)
    for i, block in enumerate(g_s.attentions):
        _attention(names, f"synthesis/NLAB_{i}", block)
