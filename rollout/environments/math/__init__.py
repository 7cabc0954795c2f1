"""Maths problems: generated or from data sets, with a calculator, a Python tool and a checker of answers."""
