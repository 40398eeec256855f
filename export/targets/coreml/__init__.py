"""Core ML: lowering to `.mlpackage`, evaluating and checking a saved program, and reading it.
`target` is what `get_backend` returns.
"""
