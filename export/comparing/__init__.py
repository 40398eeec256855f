"""Two bundles or two records beside each other: what differs in files, tables, answers and times.
Imports targets and mobilemod.
"""
