"""Divergences between teacher and student, and the objective that sums them."""
