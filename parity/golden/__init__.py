"""A recorded reference."""
