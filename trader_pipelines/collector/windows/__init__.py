"""Live trades of a venue that does not count them: proven and mended minute by minute."""
