"""Model files by every route: other tools' from the published form, ours from a bundle. Stands on
`benchmarks.measure` and the product.
"""
