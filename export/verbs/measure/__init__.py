"""Verbs that measure a bundle or a file, here or on a device."""
