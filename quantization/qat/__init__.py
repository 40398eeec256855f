"""Quantization-aware training. `run` is its entry; `network` has the quantized modules that
learned rounding uses too.
"""
