"""g_a and g_s as ONNX files: `analysis.onnx` and `synthesis.onnx`.

```
x [B, 3, H, W] in 0..1, quality --> g_a, gain --> y [B, N, H/16, W/16]
y_hat [B, N, h, w], quality --> inverse gain, g_s --> x_hat [B, 3, 16 h, 16 w], not clipped
```

The same functions as the signatures `analysis` and `synthesis` of `export/saved_model.py`, with
ONNX's order of axes. They consist of convolutions and element-wise operations only, so the graph is
built here layer by layer, with the package `onnx` alone and no conversion of TensorFlow's graphs.
Batch, height and width are free. Weights are float32.
"""

import importlib
import os

import numpy as np
import tensorflow as tf

from gllmm_tf.config import HYPER_STRIDE, LATENT_STRIDE, QUALITY_STEPS
from gllmm_tf.errors import GllmmError, ModelError
from gllmm_tf.export.saved_model import ExportedCodec, check_folder, new_folder
from gllmm_tf.layers import (
    GDN,
    AttentionBlock,
    BottleneckResidualUnit,
    ConcatenatedResidualModule,
    Conv2D,
    ResidualBlock,
    ResidualDownsampling,
    ResidualUpsampling,
    SubPixelConv2D,
)

OPSET = 17
IR_VERSION = 8  # the one of opset 17: newer ones are refused by older runtimes for no gain
TOLERANCE = 1e-3  # of the largest value; float32 sums of another order differ by about 1e-6


def save(model_file, path):
    """Writes both files into the folder `path`, new or empty, and compares them with the layers.

    Args:
        model_file: `gllmm_tf.zoo.model_file.ModelFile`.
        path: Folder.

    Returns:
        `{file name: largest difference}` between onnxruntime and the Keras layers on random input,
        as a fraction of the largest value.

    Raises:
        GllmmError: a package is missing.
        ModelError: the folder is not empty, the weights do not fit, or a result differs by more than
            `TOLERANCE`.
    """
    runtime, _ = _import("onnxruntime"), _import("onnx")
    check_folder(path)
    codec = ExportedCodec(model_file)
    models = {"analysis": analysis_model(model_file, codec.networks)}
    models["synthesis"] = synthesis_model(model_file, codec.networks)
    references = _references(codec)
    differences = {}
    with new_folder(path) as folder:
        for name, model in models.items():
            data = model.SerializeToString()
            session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
            file = f"{name}.onnx"
            differences[file] = _difference(session, *references[name])
            if not differences[file] < TOLERANCE:  # nor NaN
                raise ModelError(
                    f"{file}: onnxruntime differs from the Keras layers by {differences[file]:.1e} "
                    f"of the largest value, the limit is {TOLERANCE:.0e}; try another onnxruntime"
                )
            with open(os.path.join(folder, file), "wb") as f:
                f.write(data)
    return differences


def analysis_model(model_file, networks):
    """`onnx.ModelProto` of g_a and the gain. networks: `saved_model.float_networks`."""
    graph = _Graph()
    y = _path(graph, networks.g_a, "x")
    if networks.gains is not None:
        y = graph.add("Mul", y, _gain(graph, networks.gains.log_y))
    n = model_file.config.num_filters
    inputs = {"x": ("batch", 3, "height", "width")}
    return graph.to_model(model_file, "analysis", inputs, y, "y", ("batch", n, "rows", "columns"))


def synthesis_model(model_file, networks):
    """`onnx.ModelProto` of the inverse gain and g_s. networks: `saved_model.float_networks`."""
    graph = _Graph()
    y_hat = "y_hat"
    if networks.gains is not None:
        y_hat = graph.add("Mul", y_hat, _gain(graph, networks.gains.log_y_inverse))
    x_hat = _path(graph, networks.g_s, y_hat)
    inputs = {"y_hat": ("batch", model_file.config.num_filters, "rows", "columns")}
    shape = ("batch", 3, "height", "width")
    return graph.to_model(model_file, "synthesis", inputs, x_hat, "x_hat", shape)


class _Graph:
    """Nodes and constants of an ONNX graph in order of evaluation; values go by their names."""

    def __init__(self):
        self._onnx = _import("onnx")
        self._nodes = []
        self._constants = []

    def add(self, operator, *inputs, **attributes):
        """Appends a node and returns the name of its output. Inputs are names or arrays."""
        names = [i if isinstance(i, str) else self._constant(i) for i in inputs]
        output = f"t{len(self._nodes)}"
        node = self._onnx.helper.make_node(operator, names, [output], **attributes)
        self._nodes.append(node)
        return output

    def _constant(self, value):
        name = f"c{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def to_model(self, model_file, name, inputs, result, output, shape):
        """The checked `onnx.ModelProto` whose `output` of the given shape is the value `result`."""
        from gllmm_tf import __version__

        helper, float32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        if model_file.config.num_qualities:
            inputs = {**inputs, "quality": ()}
        self._nodes.append(helper.make_node("Identity", [result], [output]))
        graph = helper.make_graph(
            self._nodes,
            f"gllmm_tf_{name}",
            [helper.make_tensor_value_info(key, float32, dims) for key, dims in inputs.items()],
            [helper.make_tensor_value_info(output, float32, shape)],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="gllmm_tf",
            producer_version=__version__,
        )
        facts = {"model": model_file.identity.hex(), "config": model_file.config.to_json()}
        helper.set_model_props(model, facts)
        self._onnx.checker.check_model(model, full_check=True)
        return model


def _path(graph, transform, x):
    for layer in transform.path:
        x = _layer(graph, layer, x)
    return x


def _layer(graph, layer, x):
    """Appends a layer. By its exact type: a subclass computes something else."""
    if type(layer) not in _LAYERS:
        raise TypeError(f"{type(layer).__name__} has no ONNX form in {__name__}")
    return _LAYERS[type(layer)](graph, layer, x)


def _chain(graph, layers, x):
    for layer in layers:
        x = _layer(graph, layer, x)
    return x


def _conv(graph, layer, x):
    kernel = layer.kernel.numpy().transpose(3, 2, 0, 1)  # (out, in, height, width)
    bias = [] if layer.bias is None else [layer.bias.numpy()]
    before = layer.kernel_size // 2
    behind = max(before - layer.strides + 1, 0)
    pads = [before, before, behind, behind]
    x = graph.add("Conv", x, kernel, *bias, pads=pads, strides=[layer.strides] * 2)
    if layer.activation == "leaky_relu":
        return graph.add("LeakyRelu", x, alpha=0.2)
    return graph.add("Relu", x) if layer.activation == "relu" else x


def _subpixel_conv(graph, layer, x):
    return graph.add("DepthToSpace", _conv(graph, layer, x), blocksize=2, mode="DCR")


def _gdn(graph, layer, x):
    gamma = layer.gamma.numpy().T[:, :, None, None]  # (out, in, 1, 1)
    norm = graph.add("Conv", graph.add("Mul", x, x), gamma, layer.beta.numpy())
    return graph.add("Mul" if layer.inverse else "Div", x, graph.add("Sqrt", norm))


def _residual(graph, layers, x):
    return graph.add("Add", x, _chain(graph, layers, x))


def _attention(graph, layer, x):
    attention = _chain(graph, [*layer.attention, layer.conv], x)
    gate = graph.add("Sigmoid", attention)
    return graph.add("Add", x, graph.add("Mul", gate, _chain(graph, layer.trunk, x)))


def _with_shortcut(graph, layers, shortcut, x):
    return graph.add("Add", _chain(graph, layers, x), _layer(graph, shortcut, x))


_LAYERS = {
    Conv2D: _conv,
    SubPixelConv2D: _subpixel_conv,
    GDN: _gdn,
    ResidualBlock: lambda graph, layer, x: _residual(graph, layer.convs, x),
    BottleneckResidualUnit: lambda graph, layer, x: _residual(graph, layer.convs, x),
    ConcatenatedResidualModule: lambda graph, layer, x: _residual(graph, layer.blocks, x),
    AttentionBlock: _attention,
    ResidualDownsampling: lambda graph, layer, x: _with_shortcut(
        graph, [layer.down, layer.conv, layer.gdn], layer.shortcut, x
    ),
    ResidualUpsampling: lambda graph, layer, x: _with_shortcut(
        graph, [layer.up, layer.conv, layer.igdn], layer.shortcut, x
    ),
}


def _gain(graph, table):
    """exp of the table [Q, N] interpolated at the input `quality`, rounded to a sixteenth: [N, 1, 1].

    Values outside of 1..Q count as the nearest end: ONNX has no way to refuse them.
    """
    highest = int(table.shape[0])
    bounds = np.float32(1), np.float32(highest)
    position = graph.add("Sub", graph.add("Clip", "quality", *bounds), np.float32(1))
    steps = graph.add("Round", graph.add("Mul", position, np.float32(QUALITY_STEPS)))
    position = graph.add("Div", steps, np.float32(QUALITY_STEPS))
    distance = graph.add("Abs", graph.add("Sub", position, np.arange(highest, dtype=np.float32)))
    weights = graph.add("Relu", graph.add("Sub", np.float32(1), distance))  # [Q]
    gain = graph.add("Exp", graph.add("MatMul", weights, table.numpy()))  # [N]
    return graph.add("Reshape", gain, np.array([-1, 1, 1], np.int64))


def _references(codec):
    """`{name: (input, {quality}, output)}` of both functions of an `ExportedCodec` on noise."""
    config = codec.networks.config
    shape = (1, LATENT_STRIDE * HYPER_STRIDE, LATENT_STRIDE * (HYPER_STRIDE + 2), 3)
    x = tf.constant(np.random.default_rng(0).random(shape, np.float32))
    highest = config.num_qualities
    rate = {"quality": np.array((1 + highest) / 2, np.float32)} if highest else {}
    y = codec.analysis(x, **rate)["y"]
    y_hat = tf.round(y)
    x_hat = codec.synthesis(y_hat, **rate)["x_hat"]
    return {"analysis": (x, rate, y), "synthesis": (y_hat, rate, x_hat)}


def _difference(session, value, rate, wanted):
    """Largest difference of an ONNX session's output from `wanted`, relative to the largest value."""
    name = session.get_inputs()[0].name
    (result,) = session.run(None, {name: value.numpy().transpose(0, 3, 1, 2), **rate})
    error = np.max(np.abs(result.transpose(0, 2, 3, 1) - wanted.numpy()))
    return float(error / np.max(np.abs(wanted)))


def _import(package):
    """The module, or one line that says how to get it."""
    try:
        return importlib.import_module(package)
    except (
        ImportError,
        AttributeError,
    ) as error:  # onnx 1.19 beside the ml_dtypes of TensorFlow 2.14
        raise GllmmError(
            f"ONNX export needs {package}, which cannot be imported ({error}): pip install 'gllmm_tf[onnx]'"
        ) from None
