"""The live collector: a venue's stream into the hot store, holes refilled over REST."""
