"""The training step of CompressAI's cheng2020-attn, one order at a time: the peer in training_speed.py.

Runs under a Python of its own that has torch and compressai 1.2.8 and nothing of gllmm_tf. It prints
{"ready": ..} when it has taken its first steps; then each line "COUNT" on standard input is answered by
{"seconds": ..}, the time of COUNT steps.

A step is what CompressAI's own training example does for the networks: forward pass with noise, loss
`lambda 255^2 MSE + bpp`, gradient, clipping at a global norm of 1, Adam. The second optimizer of that
example, which fits the quantiles of the model of z, is left out.

compressai imports torchvision and torch_geometric at its start, which this model does not need;
stand-ins take their place, so that a CPU build of torch alone is enough.
"""

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import json
import math
import sys
import time
import types


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module below the packages that are not installed, and leaves them empty."""

    PACKAGES = ("torchvision", "torch_geometric")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.PACKAGES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


class StandIn(types.ModuleType):
    """A module in which every public name is `Nothing`."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing


class Nothing:
    """May be a base class, or a decorator that does nothing."""

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, value):
        return value


def make_step(num_filters, batch, patch, bfloat16):
    """Returns a function that takes one step, of no result."""
    import torch
    from compressai.models import Cheng2020Attention

    torch.manual_seed(0)
    model = Cheng2020Attention(N=num_filters).train()
    weights = [p for n, p in model.named_parameters() if not n.endswith(".quantiles")]
    optimizer = torch.optim.Adam(weights, lr=1e-4)
    x = torch.rand(batch, 3, patch, patch)
    half = torch.autocast("cpu", torch.bfloat16) if bfloat16 else contextlib.nullcontext()

    def step():
        optimizer.zero_grad()
        with half:
            out = model(x)
        likelihoods = out["likelihoods"].values()
        bits = sum(torch.log(p.float()).sum() for p in likelihoods) / -math.log(2)
        mse = torch.nn.functional.mse_loss(out["x_hat"].float(), x)
        loss = 0.0075 * 255**2 * mse + bits / (batch * patch * patch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_filters", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--patch", type=int, required=True)
    parser.add_argument("--bfloat16", action="store_true", help="torch.autocast to bfloat16")
    options = parser.parse_args()
    sys.meta_path.append(StandIns())
    step = make_step(options.num_filters, options.batch, options.patch, options.bfloat16)
    for _ in range(2):
        step()
    import compressai
    import torch

    versions = {"torch": torch.__version__, "compressai": compressai.__version__}
    print(json.dumps({"ready": True, "threads": torch.get_num_threads(), **versions}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
