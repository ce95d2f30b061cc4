"""Runs the service: `python -m gllmm_tf.serve --port=8000 --model=gllmm-n48`.

Nothing listens before the model is loaded and has been used once. SIGTERM and Ctrl-C let running
requests finish and accept no new ones; a second Ctrl-C ends at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from absl.flags import argparse_flags
from PIL import Image

from gllmm_tf.codec import backends
from gllmm_tf.errors import GllmmError
from gllmm_tf.serve.limits import Limits
from gllmm_tf.zoo import registry

PROGRAM = "gllmm_tf.serve"
NEEDED = ("starlette", "uvicorn", "prometheus_client")
GRACE = 5.0  # Seconds that answers have beyond the limit of time when the service is stopped.


def parse(argv: Sequence[str], default: Limits) -> argparse.Namespace:
    """Parses the command line; `default` are the limits without flags."""
    parser = argparse_flags.ArgumentParser(
        prog=PROGRAM,
        description="Serves compression and decompression over HTTP, and a page to try them on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    def add(name, kind, value, text):
        parser.add_argument(f"--{name}", type=kind, default=value, metavar="N", help=text)

    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all")
    add("port", _number(int, 0, 65535), 8000, "port; 0: any that is free")
    parser.add_argument("--model", help="name or path of a model; None: the default one")
    parser.add_argument(
        "--backend",
        choices=backends.BACKENDS,
        default=backends.AUTO,
        help="what computes the networks",
    )
    add("max_bytes", _number(int, 1), default.bytes, "largest body")
    add("max_pixels", _number(int, 1), default.pixels, "largest width x height")
    add("max_seconds", _number(float, 0.1), default.seconds, "longest time for a request")
    text = "megabytes that the process may take: pictures that do not fit together take turns"
    add("memory", _number(int, 1), default.memory, text)
    add("threads", _number(int, 1), default.threads, "pictures that are worked on at a time")
    add("waiting", _number(int, 0), default.waiting, "requests that may wait beyond these")
    add("connections", _number(int, 1), 256, "connections at a time; beyond, 503 at once")
    parser.add_argument("--access_log", action="store_true", help="a line per request on stdout")
    return parser.parse_args(argv[1:])


def _number(kind: type, least: float, most: float = sys.maxsize) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)  # A ValueError is argparse's to report.
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least} to {most}")
        return value

    return number


def main(argv: Sequence[str]) -> None:
    """Runs until a signal ends it."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"{PROGRAM}: {', '.join(missing)} not installed: pip install 'gllmm_tf[serve]'")
    args = parse(argv, Limits())
    try:
        stored, higher = registry.read_scale(
            args.model
        )  # A fault of it should not wait for TensorFlow.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import uvicorn

        from gllmm_tf.codec.base import Codec
        from gllmm_tf.serve.app import create_app

        Image.MAX_IMAGE_PIXELS = None  # Our own limit, --max_pixels, is checked before decoding.
        warnings.filterwarnings("ignore", module="PIL")
        logging.getLogger("PIL").addHandler(logging.NullHandler())
        limits = Limits(
            bytes=args.max_bytes,
            pixels=args.max_pixels,
            memory=args.memory,
            seconds=args.max_seconds,
            threads=args.threads,
            waiting=args.waiting,
        )
        settings = {"backend": args.backend, "memory": args.memory, "continuation": higher}
        service = create_app(Codec.of(stored, **settings), limits)
    except GllmmError as error:
        sys.exit(f"{PROGRAM}: {error.with_flag()}")
    # uvicorn lets requests finish and then sends itself the signal again, to what handled it before.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    uvicorn.run(
        service,
        host=args.host,
        port=args.port,
        limit_concurrency=args.connections,
        timeout_graceful_shutdown=math.ceil(limits.seconds + GRACE),
        access_log=args.access_log,
        server_header=False,
    )


if __name__ == "__main__":
    main(sys.argv)
