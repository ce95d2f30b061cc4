"""Names of formats for messages. Nothing is imported here, so that a command's help is quick."""

FORMAT_NAMES = "PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, PFM, AVIF, HEIC and JPEG XL"
"""What is read."""
