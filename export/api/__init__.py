"""The Python API: what `mobilemod.export` and its like are. The command line calls the same
functions; each imports the frameworks when it is called.
"""
