"""Tools of the agents: the code sandbox and retrieval."""
