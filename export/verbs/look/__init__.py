"""Verbs that look at files and records."""
