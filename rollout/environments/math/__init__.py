"""The math environment: generated problems or data sets, a calculator, a Python tool and an answer checker."""
