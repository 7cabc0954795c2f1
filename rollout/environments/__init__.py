"""The environments, their shared parts, and the wrappers around them."""
