"""Pictures that tools take as photographs."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="package")
def pictures(tmp_path_factory, sample_pixels):
    """The pattern of four small pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(4):
        Image.fromarray(np.roll(sample_pixels, 20 * i, 1)).save(folder / f"{i}.png")
    return f"{folder}/*.png"
