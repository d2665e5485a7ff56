"""The port: the energy-based model in PyTorch, written to equal ``reference_tf``.

Read it beside ``reference_tf``; the files, functions and arguments have the same names.
"""
