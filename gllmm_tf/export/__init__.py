"""Models for programs without gllmm_tf: SavedModel and ONNX."""
