"""Phones' NPUs: what their compilers take of a `.tflite`, and the files that they make of it."""
