"""What is measured of a bundle: validation, stress, profile, sensitivity, search. A module a verb;
each is imported by the command line.
"""
