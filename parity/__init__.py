"""parity: is this PyTorch port the same program as its TensorFlow reference, and if not, why?

Declare the two sides once::

    pair = parity.Pair(
        reference=parity.TensorFlowSide(model="reference_tf.energy_model:energy_model"),
        port=parity.TorchSide(model="port_torch.energy_model:energy_model"),
    )

and run ``parity check module:pair``. Importing this package imports neither framework.
"""

from parity.declare.declarations import Call, Pair, Side, TensorFlowSide, TorchSide

__version__ = "0.1.0"

__all__ = ["Call", "Pair", "Side", "TensorFlowSide", "TorchSide", "__version__"]
