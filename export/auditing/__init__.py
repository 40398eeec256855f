"""What is in a model file, told: the audit, its words, what `--explain` says."""
