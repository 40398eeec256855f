"""Answers, times and int8 shares of any tool's model files, also of those that
`benchmarks.routes` wrote.
"""
