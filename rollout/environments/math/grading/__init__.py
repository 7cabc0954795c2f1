"""Whether two answers are the same: notation, units, groups of values, and what math-verify says of the rest."""
