"""Pictures and `.gllmm` files as bytes on disk: reading, writing, and what they hold.

images            pictures <-> arrays; writing encodes them
opening           one picture of each file, by recognise (which format), png, jpeg, tiff, directories, boxes
colour, depth     what its values mean, made 8-bit sRGB or sRGB with a profile; grey; transparency
exif, metadata    what is kept beside the pixels
container         streams <-> bytes; header reads the beginning alone
atomic, mark      files that appear whole; which of them this program wrote; names as the system allows them
pillow_errors     what Pillow raises, as errors of ours
"""
