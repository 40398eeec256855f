"""Values that stand several times in a tensor, made of ops that delegates take as they are:
channels repeated, pixels repeated.
"""
