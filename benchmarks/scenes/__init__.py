"""Segmentation data composed of photographs, `python -m benchmarks.scenes`. Imports the product's
`mobilemod.data` and what the benchmarks share.
"""
