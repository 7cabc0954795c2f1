"""The Python tool: runs model-written code in isolated interpreters, one per episode, outside the worker's process."""
