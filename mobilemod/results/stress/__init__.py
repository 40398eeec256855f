"""The table of accuracy on corrupted images. Takes its record, and the shared parts of results."""
