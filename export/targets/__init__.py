"""The runtimes: a folder each, behind the protocol in `target`. Imports nothing of export but
`graph`, `quiet` and the audit's text.
"""
