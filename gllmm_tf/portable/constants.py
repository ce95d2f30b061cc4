"""Numbers of the format that both directions share: see docs/format.md."""

from gllmm_tf.coding import tables

ACTIVATION_BITS = 8  # phi and the networks' activations are multiples of 2^-8
PARAMETER_BITS = 12  # the mixture's parameters are multiples of 2^-12
GAIN_BITS = 12  # inverse gains of z are multiples of 2^-12

WEIGHT_BITS = 16
FRACTION_BITS = 8  # of a standardised position, behind the cell of the CDF's table
POSITION_BITS = tables.CDF_RESOLUTION_BITS + FRACTION_BITS
SCALE_MIN = 2.0 ** (PARAMETER_BITS - 6)

# Offsets (rows, columns) of the causal context, in raster order, and how far it reaches.
TAPS = [(dy, dx) for dy in (-2, -1) for dx in range(-2, 3)] + [(0, -2), (0, -1)]
REACH = 2

# Flags of empty channels: the table in a model file, sizes of pictures in classes, how rows move.
EMPTY = "y/empty"
EMPTY_DEFAULT = 0.125
EMPTY_SMALLEST = 16
EMPTY_SIZES = 12
EMPTY_ROWS = 512, 2041
EMPTY_MOVE_BITS = 9
