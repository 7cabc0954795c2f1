"""Tools for agents: the code sandbox and retrieval."""
