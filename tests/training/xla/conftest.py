"""Two exported runs, and pictures for them."""

import numpy as np
import pytest
from PIL import Image
from training.xla.exported_runs import MS_SSIM, TINY, export_in_process, export_run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with five smooth pictures, one of them smaller than a patch of 64."""
    folder = tmp_path_factory.mktemp("xla")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(80, 96), (70, 64), (270, 270), (300, 280), (40, 300)]):
        rows, columns = np.mgrid[:height, :width]
        waves = np.outer(rows.ravel(), rng.uniform(-0.2, 0.2, 3))
        waves += np.outer(columns.ravel(), rng.uniform(-0.2, 0.2, 3))
        values = (128 + 100 * np.sin(waves)).reshape(height, width, 3)
        Image.fromarray(values.astype(np.uint8)).save(folder / f"pictures/{i}.png")
    return folder


@pytest.fixture(scope="session")
def exported(folder):
    """Variable rate, Muon, average, MSE."""
    return export_run(folder, "tiny", TINY)


@pytest.fixture(scope="session")
def exported_ms_ssim(folder):
    """Fixed rate, Adam, no average, MS-SSIM; the program in float32 alone."""
    return export_run(folder, "ms_ssim", MS_SSIM, export_in_process)
