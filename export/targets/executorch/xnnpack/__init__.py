"""XNNPACK's delegate: its graph, read from a file, packed, and its names."""
