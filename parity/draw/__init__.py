"""Which cases a run has."""
