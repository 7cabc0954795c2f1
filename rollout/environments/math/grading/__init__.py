"""Comparison of two answers by notation, units and groups of values; math-verify compares the rest."""
