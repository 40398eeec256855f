"""Two bundles beside each other: what differs in files, tables and answers. Imports targets and
mobilemod.
"""
