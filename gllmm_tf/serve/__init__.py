"""A small HTTP service around a codec (extra `serve`): `python -m gllmm_tf.serve --help`.

`app.create_app(codec)` makes the same as an ASGI application, for another server. docs/serving.md
describes endpoints, limits and metrics.
"""
