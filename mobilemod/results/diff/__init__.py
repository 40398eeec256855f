"""The text of a comparison of two model files. Takes its record, and shared parts."""
