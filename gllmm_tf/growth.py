"""Starts a model from the weights of a smaller one, so that what those cost is not paid twice.

Channels are matched by position. A channel that both models have keeps its weights and, where the
larger model only adds, its function: it sees none of the new channels until training opens the way.
New channels see all the old ones through the weights of their initialisation.

A new channel of y changes nothing in the picture at first, so the gradient of its rate would drive
it to zero before it can learn: train with `rate_ramp`, which holds that gradient back for a while.
"""

import numpy as np

from gllmm_tf.errors import ModelError
from gllmm_tf.layers import GDN, SubPixelConv2D

SAME = ("system", "families", "components", "stages")


def grow(model, smaller):
    """Overwrites the weights of a built model with what a smaller one has of them.

    Both are built `CompressionModel`s. Layers that are narrower than in `smaller` keep the first of
    its channels. Gains are interpolated over the logarithm of lambda.

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
        _grow_gains(model.gains, smaller.gains)


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


def _grow_gains(gains, smaller):
    """Tables over the new lambdas; a new channel starts with the mean of the old ones."""
    ours, theirs = (np.log(g.lambdas) for g in (gains, smaller))
    for target, source in zip(gains.weights, smaller.weights):
        columns = [np.interp(ours, theirs, column) for column in source.numpy().T]
        shared = min(len(columns), target.shape[1])
        table = np.repeat(np.mean(columns, 0)[:, None], target.shape[1], 1)
        table[:, :shared] = np.array(columns[:shared]).T
        target.assign(table)
