"""Table, plot and page of a sensitivity analysis. Takes its record, and the shared parts of
results.
"""
