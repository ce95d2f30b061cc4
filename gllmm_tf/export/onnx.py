"""g_a and g_s as ONNX files: `analysis.onnx` and `synthesis.onnx`.

```
x [B, 3, H, W] in 0..1, quality --> g_a, gain --> y [B, N, H/16, W/16]
y_hat [B, N, h, w], quality --> inverse gain, g_s --> x_hat [B, 3, 16 h, 16 w], not clipped
```

The graphs that the portable codec computes with, and the same functions as the signatures `analysis` and
`synthesis` of `export/saved_model.py` with ONNX's order of axes. Neither TensorFlow nor the package
`onnx` is needed.
"""

from __future__ import annotations

import os

from gllmm_tf.export.folders import check_folder, new_folder
from gllmm_tf.portable import onnx_models
from gllmm_tf.zoo.model_file import ModelFile

MODELS = {
    "analysis.onnx": onnx_models.analysis_model,
    "synthesis.onnx": onnx_models.synthesis_model,
}


def save(model_file: ModelFile, path: str | os.PathLike) -> list[str]:
    """Writes both files into the folder `path`, new or empty, and returns their names.

    Raises:
        ModelError: the folder is not empty.
    """
    model_file.check_of_pictures()
    check_folder(path)
    with new_folder(path) as folder:
        for name, model in MODELS.items():
            with open(os.path.join(folder, name), "wb") as f:
                f.write(model(model_file))
    return list(MODELS)
