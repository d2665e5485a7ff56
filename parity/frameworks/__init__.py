"""What only TensorFlow and only PyTorch know."""
