"""Draws pictures that are no photographs, for training: text, screens, line art, plots, flat areas.

    python -m experiments.tools.drawn_pictures --output_dir=drawn --count=66

Writes drawn/KIND_NUMBER.png, 1152 x 896 pixels each, in turn one of each kind. Everything follows
from --seed and the number of the picture, so that a longer set begins with a shorter one. The
words are made of random syllables, the fonts are those that Matplotlib brings along (DejaVu, STIX,
Computer Modern): nothing in the pictures is anybody's.

A network that has seen photographs alone spends its bits badly on edges between flat colours.
A tenth of the training crops is a good share: 66 drawn pictures beside 593 photographs, since
`gllmm_tf.training.crops` takes every picture equally often. A second per picture.
"""

from __future__ import annotations

import colorsys
import functools
import io
import os
import pathlib
from collections.abc import Callable

import numpy as np
from absl import flags
from PIL import Image, ImageDraw, ImageFont

from experiments.common.program import run

WIDTH, HEIGHT = 1152, 896
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold"),
    *(
        "DejaVuSerif-Italic",
        "STIXGeneral",
        "STIXGeneralBol",
        "STIXGeneralItalic",
        "cmr10",
        "cmss10",
    ),
)
MONOSPACED = ("DejaVuSansMono", "DejaVuSansMono-Bold", "cmtt10")
SYLLABLES = tuple(f"{consonant}{vowel}" for consonant in "bdfghklmnprstvwz" for vowel in "aeio") + (
    "in",
    "on",
    "un",
    "ed",
    "er",
    "est",
    "ing",
    "st",
    "tra",
)

Random = np.random.Generator
Colour = tuple[int, int, int]


# What the kinds are made of ----------------------------------------------------------------------


@functools.cache
def font_of(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of Matplotlib's by the name of its file; size in pixels."""
    import matplotlib

    folder = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(str(folder / f"{name}.ttf"), size)


def some_font(random: Random, size: int, names=FONTS) -> ImageFont.FreeTypeFont:
    return font_of(names[random.integers(len(names))], size)


def words(random: Random, count: int) -> str:
    """So many made-up words with capitals, numbers and punctuation."""
    text, start = [], True
    for _ in range(count):
        if random.random() < 0.06:
            word = str(random.integers(10 ** random.integers(1, 6)))
        else:
            word = "".join(random.choice(SYLLABLES, random.integers(1, 5)))
        word = word.capitalize() if start or random.random() < 0.05 else word
        end = random.random()
        start = end < 0.1
        text.append(word + ("." if start else "," if end < 0.18 else ";" if end < 0.19 else ""))
    return " ".join(text)


def hue(random: Random, saturation: float, value: float) -> Colour:
    """A random colour of this saturation and value, both 0..1."""
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(random.random(), saturation, value))


def paper_and_ink(random: Random) -> tuple[Colour, Colour]:
    """(background, foreground) with enough contrast to read: mostly black on white, as it is."""
    kind = random.random()
    if kind < 0.5:
        return (255, 255, 255), (0, 0, 0)
    if kind < 0.7:
        return hue(random, 0.08, 0.98), hue(random, 0.5, 0.25)
    return hue(random, 0.4, 0.14), hue(random, 0.12, 0.92)


def lines_of(text: str, font, width: float) -> list[str]:
    """Breaks a text into lines of at most `width` pixels."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def write_paragraph(draw, random: Random, box, ink: Colour, size: int, names=FONTS) -> None:
    """Fills the box (left, top, right, bottom) with one paragraph."""
    left, top, right, bottom = box
    font, pitch = some_font(random, size, names), round(size * random.uniform(1.2, 1.6))
    fits = max(1, round(2.2 * (right - left) / size / 6)) * max(1, (bottom - top) // pitch)
    for line in lines_of(words(random, fits), font, right - left):
        if top + pitch > bottom:
            return
        draw.text((left, top), line, ink, font)
        top += pitch


def canvas(colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (WIDTH, HEIGHT), colour)
    return picture, ImageDraw.Draw(picture)


# Kinds -------------------------------------------------------------------------------------------


def text(random: Random) -> Image.Image:
    """Columns of paragraphs in many sizes."""
    paper, ink = paper_and_ink(random)
    picture, draw = canvas(paper)
    columns, margin = random.integers(1, 4), 24
    pitch = (WIDTH - margin) // columns
    for column in range(columns):
        top, left = margin, margin + column * pitch
        while top < HEIGHT - 40:
            size = int(random.choice([9, 10, 11, 12, 13, 14, 16, 18, 22, 28, 40]))
            bottom = top + size * int(random.integers(2, 10)) + 8
            accent = hue(random, 0.8, 0.7) if random.random() < 0.15 else ink
            box = (left, top, left + pitch - margin, min(bottom, HEIGHT))
            write_paragraph(draw, random, box, accent, size)
            top = bottom + 8
    return picture


def program(random: Random) -> Image.Image:
    """An editor or a terminal: monospaced, indented, coloured by word."""
    dark = random.random() < 0.6
    picture, draw = canvas(hue(random, 0.3, 0.12) if dark else (253, 253, 250))
    size = int(random.choice([11, 12, 13, 14, 16, 20]))
    font = some_font(random, size, MONOSPACED)
    palette = [hue(random, 0.6, 0.95 if dark else 0.55) for _ in range(5)]
    palette += [(220, 220, 220) if dark else (20, 20, 20)] * 6
    advance, indent, pitch = font.getlength("m"), 0, round(1.35 * size)
    for number, top in enumerate(range(4, HEIGHT - pitch, pitch)):
        draw.text((6, top), f"{number + 1:4d}", (128, 128, 128), font)
        indent = int(np.clip(indent + random.integers(-1, 2), 0, 6))
        left = 6 + advance * (6 + 4 * indent)
        for word in words(random, random.integers(0, 11)).lower().split():
            word += str(random.choice(["", "", "", "()", " =", ":", "[i]", " +", "_"]))
            draw.text((left, top), word, palette[random.integers(len(palette))], font)
            left += advance * (len(word) + 1)
    return picture


def window(draw, random: Random, box) -> None:
    """A window of a desktop with a title, buttons, fields and a table."""
    left, top, right, bottom = box
    body, ink = paper_and_ink(random)
    bar, radius = hue(random, random.uniform(0, 0.7), 0.75), int(random.integers(0, 12))
    draw.rounded_rectangle(box, radius, body, (120, 120, 120))
    draw.rectangle((left, top, right, top + 24), bar)
    draw.text((left + 8, top + 4), words(random, 3), (10, 10, 10), some_font(random, 13))
    for i in range(3):
        x = right - 20 * (i + 1)
        draw.ellipse((x, top + 6, x + 12, top + 18), hue(random, 0.7, 0.9))
    y = top + 34
    while y < bottom - 30:
        kind, height = random.integers(4), int(random.integers(20, 60))
        low = min(y + height, bottom - 6)
        if kind == 0:
            for x in range(left + 10, right - 90, 100):
                draw.rounded_rectangle((x, y, x + 84, y + 20), 4, bar, ink)
                draw.text((x + 8, y + 3), words(random, 1), (10, 10, 10), some_font(random, 11))
        elif kind == 1:
            draw.rectangle((left + 10, y, right - 10, low), None, ink)
            write_paragraph(draw, random, (left + 14, y + 2, right - 14, low), ink, 11)
        elif kind == 2:
            for x in range(left + 10, right - 60, 60):
                draw.rectangle((x, y, x + 60, y + 18), None, (150, 150, 150))
                draw.text(
                    (x + 4, y + 2), f"{random.normal() * 100:.2f}", ink, some_font(random, 11)
                )
        else:
            write_paragraph(draw, random, (left + 10, y, right - 10, low), ink, 12)
        y += height + 8


def screen(random: Random) -> Image.Image:
    """A desktop with some windows, one above the other."""
    picture = gradients(random) if random.random() < 0.5 else canvas(hue(random, 0.5, 0.5))[0]
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(2, 6)):
        left, top = int(random.integers(0, WIDTH - 300)), int(random.integers(0, HEIGHT - 240))
        width, height = int(random.integers(280, 800)), int(random.integers(200, 600))
        window(
            draw, random, (left, top, min(left + width, WIDTH - 1), min(top + height, HEIGHT - 1))
        )
    return picture


def line_art(random: Random) -> Image.Image:
    """Curves, circles, polygons and hatching, thin and thick, smoothed or not."""
    paper, ink = paper_and_ink(random)
    scale = int(random.integers(1, 3))  # drawn larger and reduced: smooth edges
    picture = Image.new("RGB", (scale * WIDTH, scale * HEIGHT), paper)
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(40, 160)):
        centre = random.uniform((0, 0), picture.size)
        size, thick = scale * random.lognormal(4, 0.8), scale * int(random.integers(1, 5))
        colour = ink if random.random() < 0.6 else hue(random, 0.8, 0.8)
        kind = random.integers(4)
        if kind == 0:
            t = np.linspace(0, 2 * np.pi, 120)
            waves = random.integers(1, 6, 2)
            curve = centre + size * np.stack([np.sin(waves[0] * t), np.cos(waves[1] * t)], -1)
            draw.line([tuple(point) for point in curve], colour, thick, "curve")
        elif kind == 1:
            box = [*(centre - size / 2), *(centre + size / 2)]
            fill = hue(random, 0.5, 0.9) if random.random() < 0.4 else None
            draw.ellipse(box, fill, colour, thick)
        elif kind == 2:
            corners = centre + size * random.normal(size=(random.integers(3, 8), 2))
            fill = hue(random, 0.5, 0.9) if random.random() < 0.4 else None
            draw.polygon([tuple(corner) for corner in corners], fill, colour, thick)
        else:
            step = random.uniform(0.5, 4) * thick + scale
            offset = size * random.normal(size=2)
            for i in range(random.integers(5, 40)):
                start = centre + (i * step, 0)
                draw.line([*start, *(start + offset)], colour, thick)
    return picture.resize((WIDTH, HEIGHT), Image.BOX)


def plot(random: Random) -> Image.Image:
    """Charts as Matplotlib draws them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = random.integers(1, 4, 2)
    figure = Figure((WIDTH / 96, HEIGHT / 96), dpi=96, layout="constrained")
    FigureCanvasAgg(figure)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        kind, count = random.integers(5), int(random.integers(4, 40))
        x = np.sort(random.random(count))
        if kind == 0:
            for _ in range(random.integers(1, 6)):
                y = np.cumsum(random.normal(size=count))
                axes.plot(x, y, "o-" if random.random() < 0.5 else "-", label=words(random, 1))
            axes.legend()
        elif kind == 1:
            axes.bar(
                np.arange(count), random.random(count), color=np.array(hue(random, 0.7, 0.8)) / 255
            )
        elif kind == 2:
            axes.scatter(
                x, random.normal(size=count), random.uniform(5, 90, count), random.random(count)
            )
        elif kind == 3:
            maps = ("viridis", "gray", "coolwarm", "tab20")
            axes.imshow(random.random((count, count)), cmap=str(random.choice(maps)))
        else:
            axes.contourf(np.cumsum(np.cumsum(random.normal(size=(30, 30)), 0), 1), count // 2)
        axes.set_title(words(random, 3))
        axes.set_xlabel(rf"$x_{{{random.integers(9)}}} / \sqrt{{\beta + \gamma x^2}}$")
        axes.grid(random.random() < 0.5)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return Image.open(stream).convert("RGB").resize((WIDTH, HEIGHT))


def gradients(random: Random) -> Image.Image:
    """Flat and graded areas with sharp borders."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for i in range(random.integers(1, 9)):
        angle, offset = random.uniform(0, 2 * np.pi), random.uniform(0, 1)
        along = (np.cos(angle) * columns + np.sin(angle) * rows) / WIDTH
        ends = np.array([hue(random, random.random(), random.random()) for _ in range(2)])
        if random.random() < 0.5:
            ends[1] = ends[0]
        t = np.clip(along, 0, 1)[..., None]
        area = ends[0] * (1 - t) + ends[1] * t
        angle = random.uniform(0, 2 * np.pi)
        across = (np.cos(angle) * columns + np.sin(angle) * rows) / WIDTH
        if random.random() < 0.4:
            y, x = random.uniform((0, 0), (HEIGHT, WIDTH))
            across = 1 - np.hypot(rows - y, columns - x) / WIDTH * 2
        where = (across > offset - 0.5) if i else np.ones_like(across, bool)
        picture[where] = area[where]
    return Image.fromarray(np.clip(np.round(picture), 0, 255).astype(np.uint8))


Kind = Callable[[Random], Image.Image]
KINDS: tuple[Kind, ...] = (text, screen, program, line_art, plot, gradients)


def draw_picture(seed: int, number: int) -> tuple[str, Image.Image]:
    """Picture `number` of a set: (name of its kind, RGB picture)."""
    kind = KINDS[number % len(KINDS)]
    return kind.__name__, kind(np.random.default_rng((seed, number)))


def define_flags() -> None:
    flags.DEFINE_integer("count", 66, "Number of pictures.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of all of them.", lower_bound=0)
    flags.DEFINE_string("output_dir", None, "Folder to write, made if need be.", required=True)


def main(f: flags.FlagValues) -> None:
    os.makedirs(f.output_dir, exist_ok=True)
    for number in range(f.count):
        name, picture = draw_picture(f.seed, number)
        picture.save(os.path.join(f.output_dir, f"{name}_{number:04d}.png"))


if __name__ == "__main__":
    run(main, define_flags)
