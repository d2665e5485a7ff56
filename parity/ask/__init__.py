"""Processes and questions, seen from the one that asks."""
