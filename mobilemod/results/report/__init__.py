"""The one page over all that a bundle knows: ship it or not, and what was measured. Takes the
records in a bundle's folder, and the groups of the other rooms of results.
"""
