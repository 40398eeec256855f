"""Weights prepared for quantization: equalized, rounded, biases corrected. `preparation` makes
them, `prepared` reads them back.
"""
