"""The codec without TensorFlow: NumPy for everything exact, onnxruntime for g_a, h_a and g_s.

codec         PortableCodec, the facade
networks      the transforms of codec/pixels.py: tiling; transforms (layers and weights of a model file),
              graphs and onnx_models (ONNX files of them), runtime (onnxruntime)
latent_coder  latents <-> streams: fixed_point, integer_mixture, symbols, wavefront, range_coder
workers       threads; blas keeps NumPy's library from using its own
constants     numbers of the format
"""
