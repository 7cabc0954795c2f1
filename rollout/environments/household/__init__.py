"""The household environment: ALFWorld's rules in plain Python, official games and generated houses."""
