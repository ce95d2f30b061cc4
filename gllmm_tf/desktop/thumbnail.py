"""Draws the small picture of a `.gllmm` file: `gllmm-thumbnailer IN OUT [SIZE]`, for file managers.

The output is a PNG whatever its name, and may exist: some file managers make an empty file first.
"""

from __future__ import annotations

import argparse
import os
import sys

from PIL import Image

from gllmm_tf import work
from gllmm_tf.files.atomic import reason
from gllmm_tf.files.container import MAX_PIXELS_FOR_OTHERS
from gllmm_tf.pillow_plugin import FORMAT, register_pillow

SIZE = 256
"""Longer side of a thumbnail in pixels where none is asked for."""


def thumbnail(source: str, target: str, size: int = SIZE) -> None:
    """Writes the thumbnail of a file.

    Args:
        source: A `.gllmm` file.
        target: The PNG.
        size: Its longer side in pixels; a smaller picture stays as it is.

    Raises:
        OSError: The file cannot be read, is larger than `MAX_PIXELS_FOR_OTHERS`, or the PNG cannot be
            written.
        MemoryError: There is too little memory.
    """
    register_pillow()
    with Image.open(source, formats=[FORMAT]) as image:
        excess = work.excess(image.width, image.height, MAX_PIXELS_FOR_OTHERS)
        if excess:
            raise OSError(f"{source}: {excess} for a thumbnail")
        image.thumbnail((size, size))
        image.save(target, "PNG")


def main() -> int:
    """Runs the command line; returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(
        prog="gllmm-thumbnailer", description="Draws the thumbnail of a .gllmm file, as a PNG."
    )
    parser.add_argument("source", metavar="IN")
    parser.add_argument("target", metavar="OUT")
    parser.add_argument("size", metavar="SIZE", nargs="?", type=int, default=SIZE)
    args = parser.parse_args()
    if args.size < 1:
        parser.error(f"SIZE is {args.size}, it must be at least 1")
    try:
        thumbnail(args.source, args.target, args.size)
    except (OSError, MemoryError) as error:
        text = str(error) if getattr(error, "strerror", None) is None else reason(error)
        name = "" if text.startswith(args.source) else f"{args.source}: "
        print(f"gllmm-thumbnailer: {name}{text}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
