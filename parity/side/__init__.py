"""A side in its own process: what it is asked, whichever the framework."""
