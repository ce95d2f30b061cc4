"""Symbols to streams and back, exactly. See docs/format.md.

latent_coder       y_hat, z_hat <-> two streams: `LatentCoder`
wavefront          the one loop that codes y along diagonals
symbols            an integer as a few yes/no decisions
empty_channels     which channels of y are zero in the whole picture
integer_mixture    the mixture as integer masses
fixed_point        h_s, context and entropy parameters in fixed point
exact_product      matrix products that no order of summation changes
tables             the integer tables of exponentials, CDFs and decisions
range_ops          the range coder of tensorflow-compression
"""
