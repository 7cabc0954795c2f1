"""Intermediate checkpoints, the state that is carried to a following fit, and the hand-over to engines."""
