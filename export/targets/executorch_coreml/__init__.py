"""ExecuTorch with Core ML as its delegate: a `.pte` around one ML program, which is lowered,
checked, evaluated and read as the `.mlpackage` of the same network.
"""
