"""A target as one folder: programs of torch itself. Tests put it into `export/targets`."""
