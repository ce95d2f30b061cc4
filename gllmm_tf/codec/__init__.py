"""Pictures to the bytes of a file and back: networks, tiles, padding, refinement, and the facade over them."""
