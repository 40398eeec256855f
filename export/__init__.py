"""The roof: it knows the runtimes, makes bundles of checkpoints, and measures them; the command
line is in `verbs`. Imports quantization and mobilemod; nothing imports it.
"""
