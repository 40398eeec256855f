"""The page of a validation. Takes its record, and the shared parts of results."""
