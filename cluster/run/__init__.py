"""The parts of a run: plan, steps, run directory, status and report. Does not import Ray."""
