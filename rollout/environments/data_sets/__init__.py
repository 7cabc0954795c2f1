"""Reads data sets of questions and problems in the layouts in which they are published."""
