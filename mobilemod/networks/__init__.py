"""Networks: how one is built and how its checkpoints are read, strictly. Imports nothing of
mobilemod but errors and files.
"""
