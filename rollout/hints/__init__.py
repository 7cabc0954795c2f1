"""Hints: short texts that are written from failed episodes, stored in a bank, and shown to a teacher before a task."""
