"""ExecuTorch with Vulkan as its delegate: lowering to a `.pte`, and reading its graph from the file
alone. Nothing here runs one.
"""
