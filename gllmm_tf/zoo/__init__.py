"""Models by name: the registry, the model file, and the weights that ship."""
