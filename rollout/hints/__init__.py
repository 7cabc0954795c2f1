"""Hints: short advice made from failed episodes, kept in a bank, shown to a teacher at the start of an episode."""
