"""Latency, instructions and placement of files on one device, for `mobilemod bench`. A module a
kind of device, listed in `devices`.
"""
