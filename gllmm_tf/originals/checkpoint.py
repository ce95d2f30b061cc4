"""Models of ours from the checkpoints that Cheng et al. and Fu et al. released.

These are TensorFlow 1 checkpoints of networks made with tensorflow-compression 1.2. Under the scopes
of `names.original_variables` they hold, not the weights, but what that library trains:

    SCOPE/signal_conv2d/kernel_rdft   kernels above 1x1, in the basis of `irdft_matrix`
    SCOPE/signal_conv2d/kernel        1x1 kernels, as they are
    SCOPE/signal_conv2d/bias
    SCOPE/signal_conv2d/gdn/reparam_beta, reparam_gamma (igdn likewise), see `gdn_value`
    entropy_parameter/masked/weights, biases
    entropy_bottleneck/matrix_i, bias_i, factor_i, quantiles: the density of z, and its medians

Keras counts layers without a name, so the end of a scope may read `signal_conv2d_1` and an inverse GDN
`gdn_3`. Adam's slots, counters of steps and the frequency tables that the bottleneck derives from its
density are passed over.

All of it carries over exactly but for the medians of z, see `absorb_medians`.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from gllmm_tf import config
from gllmm_tf.errors import ModelError
from gllmm_tf.layers import gdn
from gllmm_tf.model.compression import CompressionModel, build
from gllmm_tf.model.density import NoisyDensity
from gllmm_tf.originals.names import load_original, original_variables

PEDESTAL = gdn.OFFSET**2
PRIOR_FILTERS = (3, 3, 3)  # hidden layers of the density in tfc 1.2; 2.14 has one less by default
LISTED = 8  # problems named in one message

_BOOKKEEPING = re.compile(
    r"(^|/)(global_step|beta[12]_power(_\d+)?|Adam(_\d+)?)$"
    r"|^entropy_bottleneck(_\d+)?/(quantized_cdf|cdf_length)$"
)
_CONCATENATED = re.compile(r"^analysis/Block_\d_layer_\d_1/|^synthesis/Block_\d_layer_1/Block_")


class Imported(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        model: Built, of a fixed rate.
        medians: float64 [N], what the original adds to the integers that it codes for z.
    """

    model: CompressionModel
    medians: np.ndarray


# A variable of the checkpoint: its shape there, the scope under which `load_original` takes it, and
# how its value follows from what is stored.
_Stored = collections.namedtuple("_Stored", "shape original decode")


def irdft_matrix(shape: Sequence[int]) -> np.ndarray:
    """The basis in which tensorflow-compression 1.2 trains kernels of a spatial `shape`.

    One axis of length n has the orthonormal real Fourier basis, p = 0..n-1 (rows), k = 0..n-1:

        B[p, 0] = 1 / sqrt(n)
        B[p, 2 m - 1] =  sqrt(2 / n) cos(2 pi m p / n),  0 < 2 m < n
        B[p, 2 m]     = -sqrt(2 / n) sin(2 pi m p / n),  0 < 2 m < n
        B[p, n - 1]   = (-1)^p / sqrt(n)                 for even n

    and several axes its Kronecker product: kernel = B coefficients. Version 1.2 has it under the same
    name (python/ops/spectral_ops.py); version 2.14 trains other coefficients and lacks it.

    Returns:
        float64 [P, P], P the product of `shape`; orthogonal.
    """
    matrix = np.ones((1, 1))
    for n in shape:
        frequency = (np.arange(n) + 1) // 2
        angle = 2 * np.pi * np.outer(np.arange(n), frequency) / n
        basis = np.where(np.arange(n) % 2 == 1, np.cos(angle), -np.sin(angle))
        basis[:, 0] = 1
        paired = (frequency > 0) & (2 * frequency < n)
        matrix = np.kron(matrix, basis * np.sqrt(np.where(paired, 2, 1) / n))
    return matrix


def kernel_from_rdft(coefficients: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Spatial kernel [height, width, in, out] from stored coefficients [height x width, in x out]."""
    return (irdft_matrix(shape[:2]) @ np.asarray(coefficients, np.float64)).reshape(shape)


def gdn_value(stored: np.ndarray, minimum: float) -> np.ndarray:
    """max(stored, sqrt(minimum + 2^-36))^2 - 2^-36: a GDN parameter from what is trained for it."""
    bound = np.sqrt(minimum + PEDESTAL)
    return np.square(np.maximum(np.asarray(stored, np.float64), bound)) - PEDESTAL


def import_checkpoint(
    prefix: str | os.PathLike, ignore: str | None = None, metric: str = "mse"
) -> Imported:
    """Reads a released checkpoint; N and which of the two systems it is follow from its variables.

    Args:
        prefix: Path without `.index`; the path of one of the checkpoint's files will do too.
        ignore: Regular expression; variables in whose name it is found are passed over.
        metric: "mse" or "ms-ssim", what the model was trained for, which no checkpoint says.

    Returns:
        `Imported`.

    Raises:
        ModelError: one line: not a readable checkpoint, or the names of what is missing, unknown,
            of another shape or not finite.
    """
    checkpoint = _Checkpoint(prefix, ignore)
    model = build(checkpoint.detect(metric))
    wanted = _stored_variables(model)
    arrays = checkpoint.read(wanted, f"{model.config.system}, N = {model.config.num_filters}")
    load_original(
        model,
        {
            stored.original: stored.decode(arrays[name])
            for name, stored in wanted.items()
            if stored.original is not None
        },
    )
    bottleneck = {
        name.split("/")[1]: arrays[name] for name, stored in wanted.items() if not stored.original
    }
    medians = bottleneck.pop("quantiles")[:, 0, 1].astype(np.float64)
    _assign_prior(model, bottleneck)
    absorb_medians(model, medians)
    return Imported(model, medians)


def absorb_medians(model: CompressionModel, medians: np.ndarray) -> None:
    """Makes a model that codes round(z - median) + median one that codes rounded z.

    With median = whole + rest, whole = round(median), the new z is the old one minus rest, so its
    rounded value is the old symbol plus whole:

        last layer of h_a    bias - rest: exact, it has no activation
        density of z         p(z + rest), by way of its first bias: exact
        first layer of h_s   bias + sum over the kernel of rest: exact away from the border

    The first layer of h_s pads with zeros, where the sum over the kernel counts taps that the original
    does not have. phi is that of the original beyond 10 positions of y from the border. Symbols of z
    and pixels do not depend on it; bits of y do, little (docs/originals.md).
    """
    rest = (medians - np.round(medians)).astype(np.float32)
    last, first = model.h_a.path[-1], model.h_s.path[0]
    last.bias.assign_sub(rest)
    first.bias.assign_add(np.einsum("hwio,i->o", first.kernel.numpy(), rest))
    density = model.z_bottleneck.prior.variables_by_name()
    slope = np.logaddexp(0, density["matrix_0"].numpy())  # softplus, [N, 3, 1]
    density["bias_0"].assign_add(slope * rest[:, None, None])


def _stored_variables(model):
    """`{name in the checkpoint: _Stored}` of everything that a model needs."""
    wanted = {}
    for original, entry in original_variables(model).items():
        scope, _, kind = original.rpartition("/")
        shape = tuple(entry.variable.shape)
        name, stored_shape, decode = f"{scope}/signal_conv2d/{kind}", shape, _same
        if kind in ("weights", "biases"):
            name = original
        elif kind in ("beta", "gamma"):
            scope, _, layer = scope.rpartition("/")
            name = f"{scope}/signal_conv2d/{layer}/reparam_{kind}"
            minimum = gdn.BETA_MINIMUM if kind == "beta" else 0
            decode = functools.partial(gdn_value, minimum=minimum)
        elif kind == "kernel" and shape[:2] != (1, 1):
            name += "_rdft"
            stored_shape = (shape[0] * shape[1], shape[2] * shape[3])
            decode = functools.partial(kernel_from_rdft, shape=shape)
        wanted[name] = _Stored(stored_shape, original, decode)
    n, widths = model.config.num_filters, (1, *PRIOR_FILTERS, 1)
    shapes = {"quantiles": (n, 1, 3)}
    for i, (before, after) in enumerate(zip(widths, widths[1:])):
        shapes[f"matrix_{i}"] = (n, after, before)
        shapes[f"bias_{i}"] = (n, after, 1)
        if i < len(PRIOR_FILTERS):
            shapes[f"factor_{i}"] = (n, after, 1)
    for name, shape in shapes.items():
        wanted[f"entropy_bottleneck/{name}"] = _Stored(shape, None, _same)
    return wanted


def _assign_prior(model, arrays):
    """Gives a model the density of tfc 1.2: the same formula as in 2.14, with one layer more.

    Both compute the logit of the CDF as x, then for every layer softplus(matrix) x + bias and, but for
    the last, x + tanh(factor) tanh(x).
    """
    model.z_bottleneck.prior = NoisyDensity(model.config.num_filters, num_filters=PRIOR_FILTERS)
    for name, variable in model.z_bottleneck.prior.variables_by_name().items():
        variable.assign(arrays[name])


class _Checkpoint:
    """The variables of a checkpoint that might belong to a model, under names without counters."""

    def __init__(self, prefix, ignore):
        prefix = os.fspath(prefix)
        self._path = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", prefix)
        with self._readable():
            self._reader = tf.train.load_checkpoint(self._path)
            shapes = self._reader.get_variable_to_shape_map()
        ignored = re.compile(ignore) if ignore else None
        self._names: dict[str, str] = {}
        self._twice: list[str] = []
        for name in sorted(shapes):
            if _BOOKKEEPING.search(name) or (ignored and ignored.search(name)):
                continue
            plain = _without_counters(name)
            if plain in self._names:
                self._twice.append(name)
            else:
                self._names[plain] = name
        self._shapes = {plain: tuple(shapes[name]) for plain, name in self._names.items()}

    def detect(self, metric):
        """The `ModelConfig` of the network that was saved, from the names and sizes of its variables."""
        is_ours = re.compile(
            r"hyper_analysis/layer_\d/signal_conv2d/bias$|entropy_bottleneck/bias_0$"
        )
        sizes = [shape[0] for name, shape in self._shapes.items() if is_ours.match(name) and shape]
        if not sizes:
            example = f", such as {min(self._shapes)}," if self._shapes else ""
            raise ModelError(
                f"{self._path}: none of its {len(self._shapes)} variables{example} belongs to the "
                "networks of Cheng et al. or Fu et al.; give the checkpoint that they released"
            )
        num_filters = collections.Counter(sizes).most_common(1)[0][0]
        concatenated = any(_CONCATENATED.search(name) for name in self._shapes)
        make = config.gllmm if concatenated else config.cheng2020
        return make(num_filters, metric=metric)

    def read(self, wanted, network):
        """`{name: array}` of the wanted variables.

        Raises:
            ModelError: names what is missing, unknown, of another shape, or not finite.
        """
        problems = [f"missing {name}" for name in wanted if name not in self._shapes]
        unknown = [self._names[name] for name in self._shapes if name not in wanted] + self._twice
        problems += [f"unknown {name}" for name in unknown]
        for name in wanted:
            found = self._shapes.get(name, wanted[name].shape)
            if found != wanted[name].shape:
                problems.append(
                    f"{self._names[name]} has shape {found}, wanted {wanted[name].shape}"
                )
        arrays = {}
        if not problems:
            with self._readable():
                arrays = {name: self._reader.get_tensor(self._names[name]) for name in wanted}
            problems = [
                f"{self._names[name]} is not made of finite numbers"
                for name, array in arrays.items()
                if array.dtype.kind != "f" or not np.all(np.isfinite(array))
            ]
        if problems:
            more = f" and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
            listed = "; ".join(problems[:LISTED])
            raise ModelError(f"{self._path}: does not fit {network}: {listed}{more}")
        return arrays

    @contextlib.contextmanager
    def _readable(self):
        try:
            yield
        except (tf.errors.OpError, OSError, RuntimeError, ValueError, LookupError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"{self._path}: not a readable TensorFlow checkpoint ({reason}); give the path before "
                ".index, with all of the checkpoint's files in place"
            ) from None


def _without_counters(name):
    name = re.sub(r"(^|/)(signal_conv2d|entropy_bottleneck|i?gdn)_\d+(?=/)", r"\1\2", name)
    return name.replace("/gdn/", "/igdn/") if name.startswith("synthesis/") else name


def _same(array):
    return array
