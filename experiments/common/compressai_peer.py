"""CompressAI's cheng2020-attn, one order at a time: the other side of speed.py and training_speed.py.

    python compressai_peer.py code --pixels=picture.npy --num_filters=128 --spread=1 --seed=1 --threads=2
    python compressai_peer.py train --num_filters=64 --batch=8 --patch=128 [--bfloat16]

Runs by its path under a Python of its own that has torch, NumPy and compressai 1.2.8, and nothing of
this repository; peer.py starts it and talks to it. It prints {"ready": ..} with its versions when it
has done its work once. Each line on standard input is answered by {"seconds": ..}:

    code    "encode": from uint8 pixels to the strings; "decode": from the strings to uint8 pixels
    train   a number: that many training steps

The weights to code with are random: the class as it is built, with two changes, without which all
symbols would be 0. The last convolution of g_a with stride is scaled so that y has the standard
deviation --spread in each channel, and the bias of the last layer of the entropy parameters is
--spread for the scales, so that the Gaussians are about as wide as what they code.

A training step is what CompressAI's own example does for the networks: forward pass with noise, loss
`lambda 255^2 MSE + bpp`, gradient, clipping at a global norm of 1, Adam. The second optimiser of that
example, which fits the quantiles of the model of z, is left out.

compressai imports torchvision and torch_geometric when it starts, which this model does not need;
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

import numpy as np


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


class Coding:
    """Encodes and decodes one picture."""

    def __init__(self, options):
        import torch

        torch.set_num_threads(options.threads)
        torch.set_grad_enabled(False)
        pixels = np.load(options.pixels)  # uint8 [H, W, 3], multiples of 64
        self._x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        self._model = random_model(options.num_filters, options.spread, self._x / 255, options.seed)
        self.encode()
        self.decode()
        self.facts = {"bytes": sum(len(strings[0]) for strings in self._coded["strings"])}

    def encode(self):
        self._coded = self._model.compress(self._x.float() / 255)

    def decode(self):
        x_hat = self._model.decompress(self._coded["strings"], self._coded["shape"])["x_hat"]
        return (x_hat[0].permute(1, 2, 0) * 255).round().byte().numpy()

    def work(self, order):
        {"encode": self.encode, "decode": self.decode}[order]()


def random_model(num_filters, spread, x, seed):
    """Returns the network with random weights, ready to code; see the top."""
    import torch
    from compressai.models import Cheng2020Attention

    torch.manual_seed(seed)
    model = Cheng2020Attention(N=num_filters).eval()
    last = model.g_a[-2]
    for _ in range(3):  # the attention behind this layer is not linear
        scale = spread / model.g_a(x).std((0, 2, 3))
        last.weight.mul_(scale[:, None, None, None])
        last.bias.mul_(scale)
    model.entropy_parameters[-1].bias[:num_filters] = spread
    model.update()
    return model


class Training:
    """Takes training steps on one batch of noise."""

    facts = {}

    def __init__(self, options):
        import torch
        from compressai.models import Cheng2020Attention

        torch.manual_seed(0)
        self._model = Cheng2020Attention(N=options.num_filters).train()
        named = self._model.named_parameters()
        self._weights = [p for n, p in named if not n.endswith(".quantiles")]
        self._optimizer = torch.optim.Adam(self._weights, lr=1e-4)
        self._x = torch.rand(options.batch, 3, options.patch, options.patch)
        self._bfloat16 = options.bfloat16
        self.work(2)

    def work(self, order):
        for _ in range(int(order)):
            self._step()

    def _step(self):
        import torch

        half = torch.autocast("cpu", torch.bfloat16) if self._bfloat16 else contextlib.nullcontext()
        self._optimizer.zero_grad()
        with half:
            out = self._model(self._x)
        bits = sum(torch.log(p.float()).sum() for p in out["likelihoods"].values()) / -math.log(2)
        mse = torch.nn.functional.mse_loss(out["x_hat"].float(), self._x)
        batch, _, height, width = self._x.shape
        loss = 0.0075 * 255**2 * mse + bits / (batch * height * width)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()


def parse(arguments=None):
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("code")
    task.set_defaults(make=Coding)
    task.add_argument("--pixels", required=True, help=".npy of uint8 [H, W, 3], multiples of 64")
    task.add_argument("--spread", type=float, required=True)
    task.add_argument("--seed", type=int, required=True)
    task.add_argument("--threads", type=int, required=True)
    task.add_argument("--num_filters", type=int, required=True)
    task = tasks.add_parser("train")
    task.set_defaults(make=Training)
    task.add_argument("--num_filters", type=int, required=True)
    task.add_argument("--batch", type=int, required=True)
    task.add_argument("--patch", type=int, required=True)
    task.add_argument("--bfloat16", action="store_true", help="torch.autocast to bfloat16")
    return parser.parse_args(arguments)


def main():
    options = parse()
    sys.meta_path.append(StandIns())
    import compressai
    import torch

    side = options.make(options)
    facts = {"torch": torch.__version__, "compressai": compressai.__version__}
    facts = {**facts, "threads": torch.get_num_threads(), **side.facts}
    print(json.dumps({"ready": True, **facts}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        side.work(line.strip())
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
