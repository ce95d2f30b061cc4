"""From decoded integers to bytes and back, exactly. See docs/format.md."""
