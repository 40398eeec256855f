"""A stand-in for an iPhone: the tools' command lines over a folder, the app's work by the worker."""
