"""Models by name.

registry     names, identities, the default
model_file   all that a model file holds; model_info: its record alone, read at once
weights/     the models that ship
"""
