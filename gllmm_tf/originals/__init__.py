"""The published code of Fu et al. and Cheng et al.: its names and its checkpoints."""
