"""The command line, a file a verb: its options, and what it calls.

Nothing imports it but the program; what verbs share is in `options`.
"""
