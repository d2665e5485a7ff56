"""What both sides of the energy-model pair share, free of any framework.

``settings``  every published number, in one dataclass
``images``    MNIST-like digits as uint8 arrays, bundled or from IDX files
``pair``      how the reference and the port correspond, for ``parity check``
"""
