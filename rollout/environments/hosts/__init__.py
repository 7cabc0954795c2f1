"""Processes in which workers run environments that may hang, leak or crash."""
