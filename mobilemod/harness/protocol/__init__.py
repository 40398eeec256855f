"""What the harness and a device say to each other: jobs, lines, what they can hold. Runs on
devices too: the standard library and mobilemod.errors and files, nothing else.
"""
