"""What reading a checkpoint takes: the formats of files, the sets of weights in one, whether they
fit a network. Imports the registry of networks.
"""
