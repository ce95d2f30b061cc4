"""The command line `gllmm`."""
