"""What runs in the PyTorch worker: the only package that imports torch."""
