"""The weights and the calibration table that come with the kit, with their card. Read by path."""
