"""Int8 once: recipe, ranges, one table of parameters, the program that computes with them. Knows
no runtime; imports mobilemod.
"""
