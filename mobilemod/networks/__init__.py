"""Networks: how one is built and how its checkpoints are read, strictly. `registry` finds families,
one a file; `family` says what a family tells of itself. Imports errors, files and data's
preprocessing; a family imports its mobile form when that is built.
"""
