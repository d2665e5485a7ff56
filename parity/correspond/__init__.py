"""Which parameter of the port holds which weight of the reference, and how it is laid out."""
