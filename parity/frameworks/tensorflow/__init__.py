"""What runs in the TensorFlow worker: the only package that imports tensorflow."""
