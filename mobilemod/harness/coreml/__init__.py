"""Core ML packages under coremltools' own benchmarker, which knows no jobs: this Mac's latency, and
on which processor a Mac or a phone beside it runs each op.
"""
