"""TFLite: lowering to `.tflite`, running, and reading a file from its bytes. Each module that
`export.targets.target.PARTS` names is a part of the target.
"""
