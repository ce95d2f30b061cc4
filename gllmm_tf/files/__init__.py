"""Pictures and `.gllmm` files as bytes on disk: reading, writing, and what they hold."""
