"""Rewrites of scales and shifts: to where a convolution takes them, or to where they cost least."""
