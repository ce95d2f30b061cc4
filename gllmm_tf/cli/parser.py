"""The parser of the command line: every command with its flags, and their help."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from absl.flags import argparse_flags

from gllmm_tf.cli.reports import PROGRAM
from gllmm_tf.codec import backends
from gllmm_tf.errors import ImageError
from gllmm_tf.files import container
from gllmm_tf.files.metadata import tags_to_strip
from gllmm_tf.files.recognise import FORMAT_NAMES


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parses `argv`, whose first element is the path of the program."""
    name = os.path.basename(argv[0])
    parser = argparse_flags.ArgumentParser(
        prog=PROGRAM if name in ("", "__main__.py") else name,
        description="Learned image compression with Gaussian-Laplacian-logistic mixtures.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    commands.required = True
    _add_compress(commands)
    _add_decompress(commands)
    _add_info(commands)
    _add_evaluate(commands)
    commands.add_parser("models", help="models that ship with the package")
    _add_export(commands)
    # Its flags are those of train.py: `main.run` hands them on before they come here.
    commands.add_parser("train", help="train a model, or continue a training", add_help=False)
    return parser.parse_args(argv[1:])


def _add_compress(commands) -> None:
    command = commands.add_parser(
        "compress",
        help="pictures -> .gllmm files",
        description=f"Compresses a picture ({FORMAT_NAMES}).",
        usage="%(prog)s [options] IN [OUT]\n       %(prog)s [options] --output_dir DIR IN...",
    )
    _add_files(command, "OUT is IN.gllmm by default")
    command.add_argument(
        "--strip",
        type=_strippable,
        default=(),
        metavar="KINDS",
        help="leave out some of exif,xmp,icc or all; without its profile a picture is made sRGB",
    )
    _add_model(command)
    _add_limits(command)
    command.add_argument("--verbose", action="store_true", help="print bpp, PSNR, MS-SSIM, times")


def _add_decompress(commands) -> None:
    command = commands.add_parser(
        "decompress",
        help=".gllmm files -> pictures",
        description="Decompresses a .gllmm file; OUT's extension chooses the picture's format.",
        usage="%(prog)s [options] IN [OUT]\n       %(prog)s [options] --output_dir DIR IN...",
    )
    _add_files(command, "OUT is IN.png by default")
    command.add_argument(
        "--model",
        help="name or path of the model; by default the shipped one the file was made with",
    )
    command.add_argument(
        "--crop",
        type=_region,
        metavar="X,Y,W,H",
        help="write only W x H pixels of the picture, from column X and row Y on (both from 0)",
    )
    _add_limits(command)
    command.add_argument("--verbose", action="store_true", help="print bpp and times")


def _add_info(commands) -> None:
    command = commands.add_parser(
        "info",
        help="what a .gllmm file holds",
        description="Prints what .gllmm files hold, without decoding them.",
    )
    command.add_argument("inputs", nargs="+", metavar="IN", help="file or quoted pattern")


def _add_evaluate(commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="table of size, bpp, PSNR, MS-SSIM and times",
        description="Compresses pictures to real files' bytes, decompresses these, and prints a "
        "table. bpp = bytes x 8 / (width x height). The times of the first picture of each size "
        "include preparing the networks for that size.",
    )
    command.add_argument("inputs", nargs="+", metavar="IN", help="picture or quoted pattern")
    _add_model(command)
    _add_limits(command)
    command.add_argument("--csv", metavar="FILE", help="write the table to FILE as well")


def _add_export(commands) -> None:
    command = commands.add_parser(
        "export",
        help="a model for programs without gllmm_tf",
        description="Writes a model as a TensorFlow SavedModel that codes and decodes .gllmm files, "
        "or its transforms as ONNX files (docs/export.md).",
    )
    command.add_argument("folder", metavar="DIR", help="folder to write, new or empty")
    command.add_argument("--model", help="name of a model (see models) or path of one")
    command.add_argument(
        "--format",
        choices=("saved_model", "onnx"),
        default="saved_model",
        help="saved_model (default): the whole codec; onnx: g_a and g_s alone",
    )
    command.add_argument(
        "--max_pixels",
        type=_positive_int,
        metavar="N",
        help="a SavedModel's decompress, which has no tiles, refuses files with more pixels (default "
        f"{container.MAX_PIXELS_FOR_OTHERS})",
    )


def _add_files(parser, default: str) -> None:
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="FILE",
        help=f"IN and optionally OUT ({default}); with --output_dir, inputs or quoted patterns",
    )
    parser.add_argument("--output_dir", metavar="DIR", help="write all results into DIR")


def _add_model(parser) -> None:
    parser.add_argument("--model", help="name of a model (see models) or path of one")
    parser.add_argument(
        "--quality", type=float, help="1 (smallest) and up, fractions allowed; variable-rate models"
    )
    parser.add_argument(
        "--refine",
        type=_count,
        default=0,
        metavar="ROUNDS",
        help="improve the latents of every picture: a smaller file for the same quality, for about "
        "1.6 s per megapixel and round on two cores; 10 is a good number (default 0)",
    )


def _add_limits(parser) -> None:
    parser.add_argument(
        "--max_pixels",
        type=_positive_int,
        metavar="N",
        default=container.MAX_PIXELS,
        help="refuse pictures with more pixels (default %(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=backends.BACKENDS,
        default=backends.AUTO,
        help="what computes the networks: portable (onnxruntime and NumPy), tensorflow, or auto "
        "(default): the portable one where it is installed",
    )
    parser.add_argument(
        "--tile",
        type=_positive_int,
        metavar="N",
        help="pixels of a tile along a picture's longer side; by default what the memory allows",
    )
    parser.add_argument(
        "--memory",
        type=_positive_int,
        metavar="MB",
        help="megabytes that the whole process may take, about; a picture that cannot fit is refused. By "
        "default what ulimit and the control group allow",
    )


def _strippable(text: str) -> str:
    try:
        tags_to_strip(text)
    except ImageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _region(text: str) -> tuple[int, ...]:
    x, y, width, height = map(int, text.split(","))  # A ValueError is argparse's to report.
    return x, y, width, height


def _count(text: str) -> int:
    value = int(text)  # A ValueError is argparse's to report.
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _positive_int(text: str) -> int:
    value = int(text)  # A ValueError is argparse's to report.
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value
