"""What a comparison comes to: pure functions, frozen results."""
