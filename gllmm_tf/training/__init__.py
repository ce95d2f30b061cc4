"""Training: settings, the compiled step, the loop, and the data that feed it."""
