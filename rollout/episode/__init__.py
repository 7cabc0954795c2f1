"""The episode loop, and acting strategies: plain, self-consistent and constrained."""
