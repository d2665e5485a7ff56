"""The reference: the energy-based model as its author wrote it, in TensorFlow and Keras.

Read it beside ``port_torch``; the files, functions and arguments have the same names.
"""
