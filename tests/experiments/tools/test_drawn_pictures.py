"""Pictures drawn for training: the same ones from the same seed, and no photographs."""

import numpy as np
import pytest

from experiments.tools import drawn_pictures
from experiments.tools.drawn_pictures import HEIGHT, KINDS, WIDTH, draw_picture


@pytest.mark.parametrize("number", range(len(KINDS)), ids=lambda i: KINDS[i].__name__)
def test_a_picture_follows_from_seed_and_number(number):
    name, picture = draw_picture(1, number)
    again, other = draw_picture(1, number)[1], draw_picture(2, number)[1]
    assert (name, picture.mode, picture.size) == (KINDS[number].__name__, "RGB", (WIDTH, HEIGHT))
    assert picture.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("number", range(len(KINDS)), ids=lambda i: KINDS[i].__name__)
def test_most_of_a_drawing_is_flat_or_smooth(number):
    pixels = np.asarray(draw_picture(0, number)[1]).astype(int)
    steps = np.abs(np.diff(pixels, axis=1)).max(-1)
    assert np.mean(steps <= 1) > 0.5  # of the pixels equal their neighbour, or nearly so
    assert steps.max() > 8  # and there is something to see


def test_lines_fit_their_width():
    font = drawn_pictures.font_of("DejaVuSans", 14)
    text = drawn_pictures.words(np.random.default_rng(0), 60)
    lines = drawn_pictures.lines_of(text, font, 200)
    assert len(lines) > 5 and max(map(font.getlength, lines)) <= 200
    assert " ".join(lines) == text
