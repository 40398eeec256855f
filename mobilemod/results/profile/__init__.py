"""Where a model file's time goes, as bars. Takes its record, and the shared parts of results."""
