"""Pictures to the bytes of a file and back.

codec        the facade: `Codec`
networks     g_a, h_a, g_s and gains over a picture, tile by tile
tiling       a transform over a picture of any size in bounded memory
padding      how a picture is continued to multiples of 64
refinement   latents chosen for one picture
"""
