"""What is said of a run, and to whom."""
