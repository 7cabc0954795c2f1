"""The household world: ALFWorld's rules in plain Python, official games and generated houses."""
