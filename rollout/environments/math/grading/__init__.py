"""Checking of answers: text around an answer, plain numbers and units here; math-verify compares all mathematics."""
