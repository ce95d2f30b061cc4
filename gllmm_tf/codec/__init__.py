"""Pictures to the bytes of a `.gllmm` file and back.

base              the facade: `Codec`; backends chooses its class; checks of its arguments
encoding          one picture on its way into a file; targets, wanted: a size or a PSNR for a quality
pixels            pixels <-> latents, tile by tile, whatever computes the transforms; regions, stages
tiling            transforms over tiles, whatever computes them
networks          the transforms with TensorFlow, and their tensorflow_tiling; tensorflow_codec has both
padding           how a picture is continued to multiples of 64
refinement        latents chosen for one picture, by descent
"""
