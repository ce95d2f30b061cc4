"""g_a and g_s of a model file as ONNX models of their own, with the gains of a variable rate inside.

```
x [B, 3, H, W] in 0..1, quality --> g_a, gain --> y [B, N, H/16, W/16]
y_hat [B, N, h, w], quality --> inverse gain, g_s --> x_hat [B, 3, 16 h, 16 w], not clipped
```

Batch, height and width are free; a fixed-rate model has no input `quality`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gllmm_tf.config import QUALITY_STEPS
from gllmm_tf.portable import transforms
from gllmm_tf.portable.graphs import Graph

if TYPE_CHECKING:
    from gllmm_tf.zoo.model_file import ModelFile

_LOG_Y, _LOG_Y_INVERSE = 0, 1  # among the stored gains


def analysis_model(model_file: ModelFile) -> bytes:
    """The ONNX model of g_a and the gain."""
    config, graph = model_file.config, Graph()
    y = graph.path(transforms.analysis(config, model_file.weights["g_a"]), "x")
    if config.lambdas:
        y = graph.add("Mul", y, _gain(graph, config, model_file.weights["gains"][_LOG_Y]))
    inputs = {"x": ("batch", 3, "height", "width")}
    shape = ("batch", config.num_filters, "rows", "columns")
    return _finish(graph, model_file, "analysis", inputs, (y, "y", shape))


def synthesis_model(model_file: ModelFile) -> bytes:
    """The ONNX model of the inverse gain and g_s."""
    config, graph = model_file.config, Graph()
    y_hat = "y_hat"
    if config.lambdas:
        gain = _gain(graph, config, model_file.weights["gains"][_LOG_Y_INVERSE])
        y_hat = graph.add("Mul", y_hat, gain)
    x_hat = graph.path(transforms.synthesis(config, model_file.weights["g_s"]), y_hat)
    inputs = {"y_hat": ("batch", config.num_filters, "rows", "columns")}
    shape = ("batch", 3, "height", "width")
    return _finish(graph, model_file, "synthesis", inputs, (x_hat, "x_hat", shape))


def _finish(graph, model_file, name, inputs, output):
    if model_file.config.lambdas:
        inputs = {**inputs, "quality": ()}
    facts = {"model": model_file.identity.hex(), "config": model_file.config.to_json()}
    return graph.to_bytes(f"gllmm_tf_{name}", inputs, *output, facts)


def _gain(graph, config, table):
    """exp of the table [Q, N] interpolated at the input `quality`, rounded to a sixteenth: [N, 1, 1].

    Values outside of the model's qualities count as the nearest end: ONNX has no way to refuse them.
    """
    steps = np.float32(QUALITY_STEPS)
    lowest, highest = (np.float32(config.qualities[i]) for i in (0, -1))
    position = graph.add("Sub", graph.add("Clip", "quality", lowest, highest), lowest)
    position = graph.add("Round", graph.add("Mul", position, steps))
    position = graph.add("Div", position, steps)
    anchors = np.arange(len(table), dtype=np.float32)
    distance = graph.add("Abs", graph.add("Sub", position, anchors))
    weights = graph.add("Relu", graph.add("Sub", np.float32(1), distance))  # [Q]
    gain = graph.add("Exp", graph.add("MatMul", weights, np.asarray(table, np.float32)))  # [N]
    return graph.add("Reshape", gain, np.array([-1, 1, 1], np.int64))
