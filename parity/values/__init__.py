"""What travels between processes: tables of tensors."""
