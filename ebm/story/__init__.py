"""The story of the notes, run again: four programs train on the same digits and randomness.

``make story``, or ``python -m ebm.story``, writes docs/story.md and its figures.
"""
