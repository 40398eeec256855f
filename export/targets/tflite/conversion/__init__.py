"""What litert-torch's converter does otherwise than files need it, and how it is brought to it."""
