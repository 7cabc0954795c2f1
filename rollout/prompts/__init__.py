"""How an episode is put before a model, and how its answers are read."""
