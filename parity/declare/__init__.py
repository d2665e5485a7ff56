"""What a person says: the pair, its sides, their entries and inputs."""
