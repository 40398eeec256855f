"""Measuring model files on devices: `mobilemod bench` and `validate --device`."""
