"""`mobilemod bench`: latency, instructions and placement of files on one device, as a job that any
driver of the harness runs.
"""
