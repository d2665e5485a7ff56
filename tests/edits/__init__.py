"""Mutation by machine: random small edits of the port, each of which the golden must see."""
