"""The retrieval tool: a local index over documents, and a client that many agents share."""
