"""The parser of the command line: every command with its flags, and their help."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from gllmm_tf import __version__
from gllmm_tf.cli.formats import LADDERS, SUFFIXES
from gllmm_tf.cli.job import PROGRAM
from gllmm_tf.codec import backends
from gllmm_tf.codec.wanted import parse_size
from gllmm_tf.errors import GllmmError, ImageError
from gllmm_tf.files import container
from gllmm_tf.files.names import FORMAT_NAMES
from gllmm_tf.zoo.registry import METRIC_MODELS

FILES_USAGE = """%(prog)s [options] IN [OUT]
       %(prog)s [options] --output_dir DIR IN..."""
STDIN = "- reads from standard input"

EFFORTS = (0, 3, 6, 10, 20, 40)
"""Rounds of refinement of --effort 0, 1, .."""


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parses `argv`, whose first element is the path of the program."""
    name = os.path.basename(argv[0])
    parser = make_parser(PROGRAM if name in ("", "__main__.py") else name)
    args = parser.parse_args(argv[1:])
    if not getattr(args, "inputs", True) and not getattr(args, "files_from", None):
        parser.error(f"{args.command}: name an input, or a list of them with --files_from")
    return args


class Parser(argparse.ArgumentParser):
    """A parser that knows its options.

    Attributes:
        summary: One line on a command.
        options: Its arguments, in order.
        commands: Parsers of the commands by name.
    """

    def __init__(self, *args, **kwargs):
        self.summary = ""
        self.options: list[argparse.Action] = []
        self.commands: dict[str, Parser] = {}
        super().__init__(*args, **kwargs)

    def _add_action(self, action):
        self.options.append(action)
        return super()._add_action(action)


class _ModelOfMetric(argparse.Action):
    """Stores the name of the model that was trained for a metric."""

    def __call__(self, parser, namespace, values, option_string=None):
        del parser, option_string
        setattr(namespace, self.dest, METRIC_MODELS[values])


def make_parser(program: str = PROGRAM) -> Parser:
    """The parser of the whole command line."""
    parser = Parser(
        prog=program,
        description="Learned image compression with Gaussian-Laplacian-logistic mixtures.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    subparsers.required = True
    commands = _Commands(parser, subparsers)
    _add_compress(commands)
    _add_decompress(commands)
    _add_info(commands)
    _add_evaluate(commands)
    _add_compare(commands)
    _add_models(commands)
    _add_export(commands)
    # Its flags are those of train.py: `main.run` hands them on before they come here.
    commands.add_parser("train", help="train a model, or continue a training", add_help=False)
    _add_completion(commands)
    return parser


class _Commands:
    """Adds commands to a parser."""

    def __init__(self, parser: Parser, subparsers):
        self._parser, self._subparsers = parser, subparsers

    def add_parser(self, name: str, help: str, **options) -> Parser:
        command = self._subparsers.add_parser(name, help=help, **options)
        command.summary = help
        self._parser.commands[name] = command
        return command


def _add_compress(commands) -> None:
    command = commands.add_parser(
        "compress",
        help="pictures -> .gllmm files",
        description=f"Compresses a picture ({FORMAT_NAMES}).",
        usage=FILES_USAGE,
    )
    _add_files(command, "OUT is IN.gllmm by default", "replace any file but a picture")
    command.add_argument(
        "--strip",
        type=_strippable,
        default=(),
        metavar="KINDS",
        help="leave out some of exif,xmp,icc or all; without its profile a picture is made sRGB",
    )
    _add_model(command)
    _add_targets(command)
    _add_limits(command)
    _add_talk(command, "print bpp, PSNR, MS-SSIM, quality, times")


def _add_decompress(commands) -> None:
    command = commands.add_parser(
        "decompress",
        help=".gllmm files -> pictures",
        description="Decompresses a .gllmm file; OUT's extension chooses the picture's format.",
        usage=FILES_USAGE,
    )
    _add_files(command, "photo.png is the default for photo.jpg.gllmm", "replace any file")
    command.add_argument(
        "--format",
        choices=tuple(SUFFIXES),
        help="of the pictures; by default that of OUT's extension, or png",
    )
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
    _add_talk(command, "print bpp and times")


def _add_models(commands) -> None:
    command = commands.add_parser(
        "models",
        help="models that ship with the package",
        description="Lists the models of the package and those in the folders of GLLMM_MODELS.",
    )
    _add_talk(command, "print how each was trained, and what was measured")


def _add_info(commands) -> None:
    command = commands.add_parser(
        "info",
        help="what a .gllmm file holds",
        description="Prints what .gllmm files hold, without decoding them.",
    )
    command.add_argument("inputs", nargs="+", metavar="IN", help=f"file or quoted pattern; {STDIN}")
    _add_talk(command)


def _add_evaluate(commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="table of size, bpp, PSNR, MS-SSIM and times",
        description="Compresses pictures to real files' bytes, decompresses these, and prints a "
        "table. bpp = bytes x 8 / (width x height). The times of the first picture of each size "
        "include preparing the networks for that size.",
    )
    command.add_argument(
        "inputs", nargs="+", metavar="IN", help=f"picture or quoted pattern; {STDIN}"
    )
    _add_model(command)
    command.add_argument(
        "--against",
        choices=tuple(LADDERS),
        help="another codec: prints the BD-rate against it, over qualities 1, 2, .. of the model",
    )
    _add_limits(command)
    command.add_argument("--csv", metavar="FILE", help="write the table to FILE as well")
    _add_talk(command)


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


def _add_compare(commands) -> None:
    command = commands.add_parser(
        "compare",
        help="a page with two versions of a picture under a slider",
        usage="%(prog)s [options] A B",
        description="Writes a page that shows a picture as two codecs give it back, under a slider, "
        "with bytes and PSNR. A and B are each a quality of the model, the name of a codec "
        f"({', '.join(LADDERS)}), such a name with its setting (webp@50), a .gllmm file or a picture. "
        "Without a setting a codec takes the largest quality whose file is not larger than the "
        "other one's. The original is --picture, or A where that is a picture.",
    )
    command.add_argument("versions", nargs=2, metavar="VERSION", help="A and B, see above")
    command.add_argument("--picture", metavar="FILE", help="the original")
    command.add_argument(
        "--output", "-o", default="compare.html", metavar="PAGE", help="default %(default)s"
    )
    command.add_argument("--model", help="name of a model (see models) or path of one")
    command.add_argument("--overwrite", action="store_true", help="replace any file")
    _add_limits(command)


def _add_completion(commands) -> None:
    command = commands.add_parser(
        "completion",
        help="completion of this command line for a shell, or its manual",
        description="Prints what completes this command line, or its manual page. "
        'bash: eval "$(gllmm completion bash)"; zsh: the same, behind compinit; '
        "fish: gllmm completion fish | source; manual: gllmm completion man > gllmm.1",
    )
    command.add_argument("shell", choices=("bash", "zsh", "fish", "man"), help="what is wanted")


def _add_files(parser, default: str, overwrite: str) -> None:
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="FILE",
        help=f"IN and optionally OUT ({default}); with --output_dir, inputs or quoted patterns; "
        f"{STDIN}, or to standard output",
    )
    parser.add_argument("--output", "-o", metavar="OUT", help="the same as OUT behind IN")
    parser.add_argument("--output_dir", metavar="DIR", help="write all results into DIR")
    parser.add_argument(
        "--recursive",
        action="store_true",
        help="take all pictures or .gllmm files of folders; DIR gets the same folders",
    )
    parser.add_argument(
        "--files_from",
        metavar="LIST",
        help="inputs, a line each or with NUL between them; - is stdin",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help=overwrite)
    existing.add_argument(
        "--skip_existing", action="store_true", help="do nothing where the output exists"
    )
    parser.add_argument(
        "--workers", "-j", type=_positive_int, metavar="N", help="pictures under way at once"
    )


def _add_talk(parser, verbose: str = "") -> None:
    if verbose:
        parser.add_argument("--verbose", "-v", action="store_true", help=verbose)
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.add_argument("--json", action="store_true", help="print one object of JSON per file")


def _add_targets(parser) -> None:
    parser.add_argument(
        "--target_size",
        type=_size,
        metavar="BYTES",
        help="take the highest quality whose file is not larger: 20000, 20k, 1.5M",
    )
    parser.add_argument(
        "--target_bpp", type=float, metavar="BPP", help="the same in bits per pixel"
    )
    parser.add_argument(
        "--target_psnr",
        type=float,
        metavar="DB",
        help="take the smallest file of at least this PSNR",
    )


def _add_model(parser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", help="name of a model (see models) or path of one")
    which.add_argument(
        "--metric",
        choices=tuple(METRIC_MODELS),
        dest="model",
        action=_ModelOfMetric,
        help="take the model that was trained for this measure of quality (default mse)",
    )
    parser.add_argument(
        "--quality",
        "-q",
        type=float,
        help="1 (smallest) and up, fractions allowed; variable-rate models",
    )
    search = parser.add_mutually_exclusive_group()
    search.add_argument(
        "--effort",
        "-e",
        type=_rounds_of_effort,
        dest="refine",
        default=0,
        metavar=f"0..{len(EFFORTS) - 1}",
        help="search for better latents of every picture: a smaller file for the same quality, for "
        "about 2 s per megapixel and round on two cores; the efforts are "
        f"{', '.join(map(str, EFFORTS))} rounds (default 0)",
    )
    search.add_argument(
        "--refine",
        type=_count,
        default=0,
        metavar="ROUNDS",
        help="the same by the number of rounds",
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
    from gllmm_tf.files.metadata import tags_to_strip

    try:
        tags_to_strip(text)
    except ImageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except GllmmError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _region(text: str) -> tuple[int, ...]:
    x, y, width, height = map(int, text.split(","))  # A ValueError is argparse's to report.
    return x, y, width, height


def _count(text: str) -> int:
    value = int(text)  # A ValueError is argparse's to report.
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _rounds_of_effort(text: str) -> int:
    effort = int(text)  # A ValueError is argparse's to report.
    if not 0 <= effort < len(EFFORTS):
        raise argparse.ArgumentTypeError(f"{effort} is not in 0..{len(EFFORTS) - 1}")
    return EFFORTS[effort]


def _positive_int(text: str) -> int:
    value = int(text)  # A ValueError is argparse's to report.
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value
