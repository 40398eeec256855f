"""Table, plot and page of a search for mixed precision. Takes its record, and the shared parts of
results.
"""
