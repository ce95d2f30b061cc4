"""The command line `gllmm`.

main, parser      the entry, every command with its flags; completion makes the shells' and the manual of it
commands          info, export, train; coding: compress, decompress; evaluation; compare; model_table
inputs, outputs   which files are read, and which may be written; formats
jobs, job         many files at once
reports           what is printed
rivals, bd_rate   codecs of Pillow's, and the comparison with them
"""
