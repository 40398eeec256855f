"""The machine that everything runs on, and who else is on it."""
