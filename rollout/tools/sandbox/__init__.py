"""The Python tool: model-written code runs in isolated interpreters, one an episode, never in our own process."""
