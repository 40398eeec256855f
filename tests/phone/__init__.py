"""A stand-in for an iPhone: its tools over a folder, the app's work by the worker."""
