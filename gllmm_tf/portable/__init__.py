"""The codec without TensorFlow: NumPy for everything exact, onnxruntime for g_a, h_a and g_s."""
