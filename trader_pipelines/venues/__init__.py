"""Where trades come from: one module a venue, behind one protocol."""
