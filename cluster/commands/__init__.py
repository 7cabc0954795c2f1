"""Commands of the command line that are not part of a run."""
