"""Which modules to leave float so that the drop is met for the least cost. Works on numbers that
others measured.
"""
