"""Preparing an image in each of the languages that do it, beside an inference."""
