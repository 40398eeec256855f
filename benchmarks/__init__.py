"""Commands that measure, `python -m benchmarks.NAME`, and what they share. Imports the product."""
