"""ExecuTorch: lowering to `.pte`, running, and reading a file from its bytes. `target` is what
`get_backend` returns.
"""
