"""The retrieval tool: a local index of documents and a client shared by many agents."""
