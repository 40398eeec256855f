"""One record of a job on a device, made of its lines, with its self-test and gates. Imports the
protocol; nothing here talks to a device.
"""
