"""Programs as people write them, a Keras model or a PyTorch module, asked without a declaration."""
