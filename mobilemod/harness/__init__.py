"""Measuring model files on a device: `mobilemod bench`."""
