"""The cold tier: how files are encoded, read with the hot rows, verified and counted."""
