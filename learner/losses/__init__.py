"""Divergences between teacher and student, and the training objective."""
