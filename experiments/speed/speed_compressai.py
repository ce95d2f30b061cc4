"""CompressAI's cheng2020-attn, one order at a time: the peer in speed.py.

Runs under a Python of its own that has torch and compressai 1.2.8 and nothing of gllmm_tf. Each line
"encode" or "decode" on standard input is answered by {"seconds": ..} for the picture in --pixels: from
uint8 pixels to the strings, or from the strings to uint8 pixels. The first answer, {"ready": ..}, comes
after one untimed round.

The weights are random: the class as it is built, with two changes. Otherwise all symbols would be 0:

* the last convolution of g_a with stride is scaled so that y has the standard deviation --spread in
  each channel;
* the bias of the last layer of the entropy parameters is --spread for the scales, so that the Gaussians
  are about as wide as what they code.
"""

import argparse
import json
import sys
import time

import numpy as np

from experiments.speed.compressai_step import StandIns


def make_model(num_filters, spread, x, seed):
    """Returns the network, ready to code."""
    import torch
    from compressai.models import Cheng2020Attention

    torch.manual_seed(seed)
    model = Cheng2020Attention(N=num_filters).eval()
    with torch.no_grad():
        last = model.g_a[-2]
        for _ in range(3):  # the attention behind this layer is not linear
            scale = spread / model.g_a(x).std((0, 2, 3))
            last.weight.mul_(scale[:, None, None, None])
            last.bias.mul_(scale)
        model.entropy_parameters[-1].bias[:num_filters] = spread
    model.update()
    return model


class Peer:
    """Encodes and decodes one picture."""

    def __init__(self, pixels, num_filters, spread, seed):
        self._pixels = pixels
        self._model = make_model(num_filters, spread, self._input(), seed)
        self.encode()

    def _input(self):
        import torch

        return torch.from_numpy(self._pixels).permute(2, 0, 1)[None].float() / 255

    def encode(self):
        self._coded = self._model.compress(self._input())

    def decode(self):
        x = self._model.decompress(self._coded["strings"], self._coded["shape"])["x_hat"]
        return (x[0].permute(1, 2, 0) * 255).round().byte().numpy()

    def num_bytes(self):
        return sum(len(strings[0]) for strings in self._coded["strings"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", required=True, help=".npy of uint8 [H, W, 3], multiples of 64")
    parser.add_argument("--num_filters", type=int, required=True)
    parser.add_argument("--spread", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    sys.meta_path.append(StandIns())
    import compressai
    import torch

    torch.set_num_threads(options.threads)
    with torch.no_grad():
        peer = Peer(np.load(options.pixels), options.num_filters, options.spread, options.seed)
        peer.decode()
        facts = {"torch": torch.__version__, "compressai": compressai.__version__}
        facts = {**facts, "threads": torch.get_num_threads(), "bytes": peer.num_bytes()}
        print(json.dumps({"ready": True, **facts}), flush=True)
        for line in sys.stdin:
            work = {"encode": peer.encode, "decode": peer.decode}[line.strip()]
            start = time.perf_counter()
            work()
            print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
