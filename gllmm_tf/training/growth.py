"""Starts a model from the weights of another, so that what those cost is not paid twice.

Channels are matched by position. A channel that both models have keeps its weights and, where the
larger model only adds, its function: it sees none of the new channels until training opens the way.
New channels see all the old ones through the weights of their initialisation.

A new channel of y changes nothing in the picture at first, so the gradient of its rate would drive
it to zero before it can learn: train with `rate_ramp`, which holds that gradient back for a while.

Channels that were lost on the way all the same stay lost: y is zero there, so nothing behind it is
ever told what it would be good for. `revive` gives them a new start.
"""

import numpy as np
import tensorflow as tf

from gllmm_tf.config import LATENT_STRIDE
from gllmm_tf.errors import ModelError
from gllmm_tf.layers import GDN, SubPixelConv2D

SAME = ("system", "families", "components", "stages")

# A channel of y is unused if a smaller part of its values is other than zero at the top quality.
USED = 1e-3

# Tikhonov regularisation of the regression, relative to the mean energy of a feature.
RIDGE = 1e-3

_BATCH = 16


def grow(model, smaller):
    """Overwrites the weights of a built model with what a smaller one has of them.

    Both are built `CompressionModel`s. Layers that are narrower than in `smaller` keep the first of
    its channels. Gains are interpolated over the logarithm of lambda or, from one metric to the other,
    whose lambdas have nothing in common, from the lowest quality to the highest.

    Raises:
        ModelError: the two are not of one family of networks.
    """
    for name in SAME:
        ours, theirs = getattr(model.config, name), getattr(smaller.config, name)
        if ours != theirs:
            raise ModelError(f"a model with {name} {ours} cannot start from one with {theirs}")
    groups = _groups(model)
    for part in ("g_a", "g_s", "h_a", "h_s", "entropy_parameters"):
        targets, sources = getattr(model, part).weights, getattr(smaller, part).weights
        for target, source in zip(targets, sources):
            is_kernel, inputs, outputs = groups.get(id(target), (True, 1, 1))
            target.assign(_embed(target.numpy(), source.numpy(), is_kernel, inputs, outputs))
    _grow_prior(model.z_bottleneck, smaller.z_bottleneck)
    if model.gains is not None and smaller.gains is not None:
        same_metric = model.config.metric == smaller.config.metric
        _grow_gains(model.gains, smaller.gains, same_metric)


def _groups(model):
    """{id(variable): (is a kernel, input groups, output groups)} of all that is not (True, 1, 1).

    Channels that are several tensors side by side are matched tensor by tensor.
    """
    groups = {}
    for layer in model.submodules:
        if isinstance(layer, GDN):
            groups.update({id(v): (False, 1, 1) for v in layer.weights})
        elif isinstance(layer, SubPixelConv2D):
            groups.update({id(v): (True, 1, 4) for v in layer.weights})
    entropy = model.entropy_parameters
    groups[id(entropy.hidden[0].kernel)] = (True, 2, 1)
    groups[id(entropy.last.kernel)] = (True, 1, model.config.num_groups)
    return groups


def _positions(old, new, groups):
    """(positions among `old` channels, positions among `new` channels) of those that both have."""
    old, new = old // groups, new // groups
    start, shared = np.arange(groups)[:, None], np.arange(min(old, new))
    return (start * old + shared).ravel(), (start * new + shared).ravel()


def _embed(target, source, is_kernel, inputs, outputs):
    """`target` with `source` in the channels that both have; the last axes are (input,) output."""
    out_from, out_to = _positions(source.shape[-1], target.shape[-1], outputs)
    if target.ndim == 1:
        target[out_to] = source[out_from]
        return target
    in_from, in_to = _positions(source.shape[-2], target.shape[-2], inputs)
    if is_kernel:
        target[..., out_to] = 0.0
    target[..., in_to[:, None], out_to] = source[..., in_from[:, None], out_from]
    return target


def _grow_prior(prior, smaller):
    """New channels of z start with the densities of the old ones."""
    channel = np.arange(prior.channels) % smaller.channels
    for target, source in zip(prior.variables, smaller.variables):
        target.assign(source.numpy()[channel])


def _grow_gains(gains, smaller, same_metric):
    """Tables over the new lambdas; a new channel starts with the mean of the old ones.

    Outside of the old lambdas the outermost lines go on.
    """
    if same_metric:
        ours, theirs = (np.log(g.lambdas) for g in (gains, smaller))
    else:
        ours, theirs = (np.linspace(0.0, 1.0, len(g.lambdas)) for g in (gains, smaller))
    for target, source in zip(gains.weights, smaller.weights):
        columns = [on_lines(ours, theirs, column) for column in source.numpy().T]
        shared = min(len(columns), target.shape[1])
        table = np.repeat(np.mean(columns, 0)[:, None], target.shape[1], 1)
        table[:, :shared] = np.array(columns[:shared]).T
        target.assign(table)


def on_lines(x, known_x, known):
    """Piecewise linear interpolation, continued outwards; known_x: ascending, two or more."""
    i = np.clip(np.searchsorted(known_x, x) - 1, 0, len(known_x) - 2)
    part = (x - known_x[i]) / (known_x[i + 1] - known_x[i])
    return known[i] + part * (known[i + 1] - known[i])


def revive(model, crops, unused=None):
    """Gives the unused channels of y of a variable-rate model a new start.

    They become the linear functions of the features in front of the last convolution of g_a that say
    most about what the picture lacks (reduced-rank regression of the error of the picture, 16 x 16
    pixels for each position of y, on the features). In g_s they pass unchanged to the first upsampling,
    whose kernels are zero for them, as are those of h_a and the context model: nothing changes until
    training opens the way. Their size is the best one for the highest lambda, were they spread evenly
    over an integer. Their scales and weights in the mixture are those of an old channel of about their
    size, so that they know already where the picture is busy, and their means are 0.

    Args:
        model: A built `CompressionModel` with gains, in float32.
        crops: uint8 [B, H, W, 3], some hundreds of training crops.
        unused: bool [N], the channels in question, such as those that `grow` has added; None for
            those that are hardly ever other than zero.

    Returns:
        bool [N]: the channels that were unused.

    Raises:
        ModelError: a fixed-rate model, or one without any channel in use.
    """
    if model.gains is None:
        raise ModelError("only a variable-rate model can have channels revived")
    features, y, error = what_is_lacking(model, crops)
    if unused is None:
        unused = np.mean(np.abs(y) > 0.5, 0) < USED
    count = int(unused.sum())
    if count == len(unused):
        raise ModelError("no channel of y is in use, there is nothing to go by; train anew")
    if count == 0:
        return unused

    directions = _directions(features, error, count)
    gains = model.gains.log_y.numpy()[:, ~unused].mean(1)
    if model.config.metric == "mse":
        gains = gains[-1] + 0.5 * np.log(np.array(model.gains.lambdas) / model.gains.lambdas[-1])
        size = 1 / (best_step(model.gains.lambdas[-1]) * np.exp(gains[-1]))
    else:
        size = np.median(y[:, ~unused].std(0)) / np.median((features @ directions).std(0))
    spread = np.exp(gains[-1]) * size * (features @ directions).std(0)
    distance = np.abs(np.log(spread[:, None] / np.maximum(y[:, ~unused].std(0), 1e-9)))
    alike = np.flatnonzero(~unused)[distance.argmin(1)]

    for block in (model.g_a.attentions[1], model.g_s.attentions[0], model.g_s.modules[0]):
        blind(block, unused[: block.filters])
    for layer in (model.g_s.ups[0].up, model.g_s.ups[0].shortcut):
        _assign(layer.kernel, (..., unused, slice(None)), 0.0)
    kernel = np.reshape(size * directions, (*model.g_a.last.kernel.shape[:-1], count))
    _assign(model.g_a.last.kernel, (..., unused), kernel)
    _assign(model.h_a.path[0].kernel, (..., unused, slice(None)), 0.0)
    _assign(model.entropy_parameters.context.kernel, (..., unused, slice(None)), 0.0)
    _speak_like(model, unused, alike)
    for table, sign in ((model.gains.log_y, 1), (model.gains.log_y_inverse, -1)):
        _assign(table, (..., unused), sign * gains[:, None])
    return unused


def _directions(features, error, count):
    """The linear functions [F, count] of the features that say most about the error."""
    energy = features.T @ features
    energy += RIDGE * np.trace(energy) / len(energy) * np.eye(len(energy))
    regression = np.linalg.solve(energy, features.T @ error)
    told = features @ regression
    _, axes = np.linalg.eigh(told.T @ told)
    return regression @ axes[:, ::-1][:, :count]


def _speak_like(model, channels, others):
    """Entropy parameters of `channels`, bool [N], as those of `others`, int [n], but with means of 0."""
    kernel = model.entropy_parameters.last.kernel
    groups = kernel.numpy().reshape(-1, model.config.num_groups, len(channels))
    groups[:, :, channels] = groups[:, :, others]
    means = 3 * np.arange(len(model.config.families) * model.config.components) + 1
    groups[:, means[:, None], np.flatnonzero(channels)] = 0.0
    kernel.assign(groups.reshape(kernel.shape))


def best_step(multiplier):
    """The distance of integers, in pixels of 0..1, at which lambda 255^2 MSE + bpp is least.

    Of a coefficient of 16 x 16 pixels in an orthonormal basis, its error spread evenly over the distance:
    D = step^2 / 12 / (3 16^2) and R = -log2(step) / 16^2.
    """
    return np.sqrt(12 * 3 / (2 * np.log(2) * 255**2 * multiplier))


def what_is_lacking(model, crops):
    """Returns, for every position of y: what its last convolution sees, y, and the error in pixels.

    At the top quality, without rounding.
    """
    last = model.g_a.path.index(model.g_a.last)
    gain, inverse_gain = model.gains(tf.constant([float(len(model.gains.lambdas))]))[:2]

    @tf.function(reduce_retracing=True, autograph=False)
    def measure(some):
        x = tf.cast(some, tf.float32) / 255.0
        t = x
        for layer in model.g_a.path[:last]:
            t = layer(t)
        # As in Conv2D with stride 2: zeros above and to the left.
        padded = tf.pad(t, [[0, 0], [1, 0], [1, 0], [0, 0]])
        seen = tf.image.extract_patches(padded, [1, 3, 3, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID")
        y = tf.cast(model.g_a(x), tf.float32) * gain
        x_hat = tf.cast(model.g_s(y * inverse_gain), tf.float32)
        error = tf.nn.space_to_depth(x - x_hat, LATENT_STRIDE)
        return [tf.reshape(v, [-1, v.shape[-1]]) for v in (tf.cast(seen, tf.float32), y, error)]

    parts = [measure(crops[i : i + _BATCH]) for i in range(0, len(crops), _BATCH)]
    return [
        np.concatenate([v.numpy() for v in values]).astype(np.float64) for values in zip(*parts)
    ]


def blind(block, channels):
    """Makes a residual block pass `channels` on unseen and unchanged but for their scale."""
    width = len(channels)
    for variable in block.weights:
        if variable.shape[-1] == width:
            _assign(variable, (..., channels), 0.0)
        if variable.shape.rank > 1 and variable.shape[-2] == width:
            _assign(variable, (..., channels, slice(None)), 0.0)


def _assign(variable, where, values):
    array = variable.numpy()
    array[where] = values
    variable.assign(array)
