"""What is compared, of each entry of a program."""
