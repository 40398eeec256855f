"""Core ML: lowering to `.mlpackage`, evaluating and checking a saved program, and reading it.
Each module that `export.targets.target.PARTS` names is a part of the target.
"""
