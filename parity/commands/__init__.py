"""What each command of the command line does; ``parity.cli`` says what it accepts."""
