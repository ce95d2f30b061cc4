"""Transforms as ONNX models, written without the package `onnx`.

A model is a protocol buffer, of which a handful of fields are needed: `_field` writes one, and the
functions below it are the messages of onnx.proto3 with their field numbers. Tensors are
[batch, channels, rows, columns]; batch, rows and columns are free. Weights are float32.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import numpy as np

from gllmm_tf import __version__
from gllmm_tf.portable import transforms

OPSET = 17
IR_VERSION = 8  # the one of opset 17: newer ones are refused by older runtimes for no gain

_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_SLOPE = 0.2  # of the leaky ReLU
_LAST = 2**62  # the end of an axis


class Graph:
    """Nodes and constants of an ONNX graph in order of evaluation; values go by their names."""

    def __init__(self):
        self._nodes = []
        self._constants = []

    def add(self, operator: str, *inputs: str | np.ndarray, **attributes) -> str:
        """Appends a node and returns the name of its output.

        Args:
            operator: Of ONNX's standard set.
            *inputs: Names of values, or arrays: float32 or int64.
            **attributes: int, float, str or a list of int.
        """
        names = [i if isinstance(i, str) else self._constant(i) for i in inputs]
        output = f"t{len(self._nodes)}"
        self._nodes.append(_node(operator, names, output, attributes))
        return output

    def path(self, layers: Iterable, x: str) -> str:
        """Appends layers of `transforms`, one behind the other."""
        for layer in layers:
            x = _append(layer, self, x)
        return x

    def to_bytes(
        self,
        name: str,
        inputs: Mapping[str, tuple],
        result: str,
        output: str,
        shape: tuple,
        facts: Mapping[str, str] | None = None,
    ) -> bytes:
        """The ONNX model.

        Args:
            name: Of the graph.
            inputs: {name: shape} of the float32 inputs; axes are int, or str where they are free.
            result: Value that is the output ...
            output: ... under this name ...
            shape: ... with this shape.
            facts: Texts that the file carries.
        """
        nodes = [*self._nodes, _node("Identity", [result], output, {})]
        graph = [_field(1, node) for node in nodes]
        graph.append(_field(2, name))
        graph += [_field(5, constant) for constant in self._constants]
        graph += [_field(11, _value(key, dims)) for key, dims in inputs.items()]
        graph.append(_field(12, _value(output, shape)))
        model = [_field(1, IR_VERSION), _field(2, "gllmm_tf"), _field(3, __version__)]
        model += [_field(7, b"".join(graph)), _field(8, _field(1, "") + _field(2, OPSET))]
        for key, text in (facts or {}).items():
            model.append(_field(14, _field(1, key) + _field(2, text)))
        return b"".join(model)

    def _constant(self, value):
        name = f"c{len(self._constants)}"
        value = np.asarray(value)
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        kind = {"f4": _FLOAT, "i8": _INT64}[little.dtype.str[1:]]
        fields = [_field(1, int(side)) for side in value.shape]
        fields += [_field(2, kind), _field(8, name), _field(9, little.tobytes())]
        self._constants.append(b"".join(fields))
        return name


def path_model(layers: Iterable, channels: tuple[int, int]) -> bytes:
    """The ONNX model of a path, from "x" to "y". channels: of its input and its output."""
    graph = Graph()
    result = graph.path(layers, "x")
    before, behind = (("batch", c, f"rows{i}", f"columns{i}") for i, c in enumerate(channels))
    return graph.to_bytes("path", {"x": before}, result, "y", behind)


@functools.singledispatch
def _append(layer, graph, x):
    """Appends a layer's nodes behind the value x; returns the output's name."""
    raise TypeError(f"{type(layer).__name__} has no ONNX form")


@_append.register(transforms.Conv)
def _(layer, graph, x):
    kernel = layer.kernel.transpose(3, 2, 0, 1)  # (out, in, height, width)
    bias = [] if layer.bias is None else [layer.bias]
    before = layer.reach
    behind = max(before - layer.stride + 1, 0)
    pads = [before, before, behind, behind]
    x = graph.add("Conv", x, kernel, *bias, pads=pads, strides=[layer.stride] * 2)
    if layer.activation == "leaky_relu":
        return graph.add("LeakyRelu", x, alpha=_SLOPE)
    return graph.add("Relu", x) if layer.activation == "relu" else x


@_append.register(transforms.SubPixelConv)
def _(layer, graph, x):
    x = _append.dispatch(transforms.Conv)(layer, graph, x)
    return graph.add("DepthToSpace", x, blocksize=2, mode="DCR")


@_append.register(transforms.GDN)
def _(layer, graph, x):
    gamma = layer.gamma.T[:, :, None, None]  # (out, in, 1, 1)
    norm = graph.add("Conv", graph.add("Mul", x, x), gamma, layer.beta)
    return graph.add("Mul" if layer.inverse else "Div", x, graph.add("Sqrt", norm))


@_append.register(transforms.Residual)
def _(layer, graph, x):
    return graph.add("Add", x, graph.path(layer.path, x))


@_append.register(transforms.Attention)
def _(layer, graph, x):
    gate = graph.add("Sigmoid", graph.path(layer.gate, x))
    return graph.add("Add", x, graph.add("Mul", gate, graph.path(layer.trunk, x)))


@_append.register(transforms.FirstChannels)
def _(layer, graph, x):
    ends = np.array([layer.count], np.int64), np.array([_LAST], np.int64), np.array([1], np.int64)
    rest = graph.add("Slice", x, *ends)
    first = graph.add("Slice", x, np.array([0], np.int64), *ends[::2])
    return graph.add("Concat", _append(layer.layer, graph, first), rest, axis=1)


@_append.register(transforms.Branches)
def _(layer, graph, x):
    return graph.add("Add", graph.path(layer.path, x), _append(layer.shortcut, graph, x))


def _node(operator, inputs, output, attributes):
    fields = [_field(1, name) for name in inputs]
    fields += [_field(2, output), _field(4, operator)]
    fields += [_field(5, _attribute(name, value)) for name, value in attributes.items()]
    return b"".join(fields)


def _attribute(name, value):
    """AttributeProto: the value's field, and its type in field 20."""
    values: list
    if isinstance(value, str):
        number, kind, values = 4, 3, [value]
    elif isinstance(value, float):
        number, kind, values = 2, 1, [value]
    elif isinstance(value, int):
        number, kind, values = 3, 2, [value]
    else:
        number, kind, values = 8, 7, value
    fields = [_field(number, v) for v in values]
    return b"".join([_field(1, name), *fields, _field(20, kind)])


def _value(name, shape):
    """ValueInfoProto of a float32 tensor."""
    dims = [_field(1, _field(1, d) if isinstance(d, int) else _field(2, d)) for d in shape]
    tensor = _field(1, _FLOAT) + _field(2, b"".join(dims))
    return _field(1, name) + _field(2, _field(1, tensor))


def _field(number, value):
    """One field of a protocol buffer: int as a varint, float as 4 bytes, str and bytes by length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + np.array(value, "<f4").tobytes()
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value):
    """A number from 0 on in groups of seven bits, the lowest first."""
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])
